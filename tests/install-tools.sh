#!/bin/sh
# Installs what the tests use beyond cargo, on Debian 12 or newer: `make install-test-tools`. Needs root for apt.
# Packages come by name from Debian, the HTTP/2 stack of the foreign remote from PyPI (versions pinned, in target/venv).
set -eu
cd "$(dirname "$0")/.."
packages="nginx-light stunnel4 motion ffmpeg chromium nghttp2-client wrk curl openssl python3-venv binutils gcc libc6-dev make procps"
missing=
for package in $packages; do
    # nginx-light is a flavour: any nginx serves.
    if [ "$package" = nginx-light ] && command -v nginx >/dev/null; then continue; fi
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update
    # Services of the packages must not start on their well-known ports: the tests start their own on loopback.
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends $missing
fi
venv=${CARGO_TARGET_DIR:-target}/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/real/requirements.txt
rustup component add rustfmt clippy 2>/dev/null || true
# cargo-deny takes minutes to build on two cores, so only CI and those who ask get it.
if [ "${CI:-}" = true ] || [ "${WITH_DENY:-}" = 1 ]; then
    command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny
fi
echo "the test tools are there"
