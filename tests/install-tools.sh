#!/bin/sh
# Installs what the tests use beyond cargo, on Debian 12 or newer: `make install-test-tools`. Needs root for apt.
# Packages come by name from Debian; from PyPI (versions pinned, in target/venv) the HTTP/2 and WebSocket stacks of the
# foreign remote, gRPC and Node.js, from npm (pinned) the authorization server and an ONVIF client, from crates.io a camera.
set -eu
cd "$(dirname "$0")/.."
packages="nginx-light stunnel4 motion ffmpeg chromium nghttp2-client nghttp2-server wrk tinyproxy-bin microsocks iproute2 curl openssl python3-venv binutils gcc libc6-dev make procps ca-certificates apache2-bin prometheus python3-yaml"
# Video: GStreamer's RTSP server as camera (by Debian's own python3, which has its bindings) and as player.
packages="$packages python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-rtsp gstreamer1.0-tools gstreamer1.0-libav"
packages="$packages gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly g++ openssh-client openssh-server"
# A Kubernetes node: what runs and joins its containers. The rest of it is built by tests/build-tools.sh, which needs Go.
packages="$packages runc containernetworking-plugins"
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
# An ONVIF client, also of the uplink configuration service, apart: it brings versions of its own.
onvif=${CARGO_TARGET_DIR:-target}/onvif
[ -x "$onvif/bin/python" ] || python3 -m venv "$onvif"
"$onvif/bin/python" -m pip install --quiet --disable-pip-version-check onvif-python==0.4.7
# The authorization server of the tests, by the Node.js that came with the line above.
oidc=${CARGO_TARGET_DIR:-target}/oidc
mkdir -p "$oidc"
cp tests/real/oidc/package.json "$oidc/"
path=$(cd "$venv/bin" && pwd):$PATH
(cd "$oidc" && PATH=$path npm install --no-audit --no-fund --no-package-lock --loglevel=error)
# Another ONVIF client, in JavaScript.
npm=${CARGO_TARGET_DIR:-target}/onvif-npm
mkdir -p "$npm"
cp tests/real/onvif_npm/package.json "$npm/"
(cd "$npm" && PATH=$path npm install --no-audit --no-fund --no-package-lock --loglevel=error)
# live555, the RTSP library of VLC (Debian's VLC is built without it), from the sources that a PyPI package carries.
live555=${CARGO_TARGET_DIR:-target}/live555
if [ ! -d "$live555/source" ]; then
    "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: -d "$live555" liblivemedia==1.0.5
    mkdir -p "$live555/unpacked"
    tar -xzf "$live555/liblivemedia-1.0.5.tar.gz" --strip-components=1 -C "$live555/unpacked"
    mv "$live555/unpacked" "$live555/source"
fi
make -s -j2 -f tests/real/live555/Makefile "SOURCE=$live555/source" "OUT=$live555/player"
# A camera that we did not write: the mock of the crate oxvif, versions by its lock file (some 100 s of one core).
if command -v cargo >/dev/null; then
    (CARGO_TARGET_DIR=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/oxvif; export CARGO_TARGET_DIR
     cargo build --quiet --locked --manifest-path tests/real/oxvif/Cargo.toml)
fi
rustup component add rustfmt clippy 2>/dev/null || true
# cargo-deny builds longer than all of this project: only those who ask get it. tests/deny.py checks all but advisories.
if [ "${WITH_DENY:-}" = 1 ]; then
    command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny
fi
echo "the test tools are there"
