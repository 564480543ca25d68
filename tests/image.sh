#!/bin/sh
# What the image holds, without an image engine: the static binary of the Dockerfile alone in an empty root, as user
# 65532, with the CA bundle. Proves that it needs no file of the host: no libc, no loader, no shell.
# Needs root or user namespaces. Prints one line per check and `N passed, N failed`; exit status 1 on a failure.
# PROFILE=dev builds faster; the default is what the image has.
set -eu
cd "$(dirname "$0")/.."
PROFILE=${PROFILE:-release}
TARGET=$(uname -m)-unknown-linux-gnu
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$PROFILE" --bin onvif-uplink --target "$TARGET"
case $PROFILE in dev) folder=debug ;; *) folder=$PROFILE ;; esac
binary=${CARGO_TARGET_DIR:-target}/$TARGET/$folder/onvif-uplink

root=$(mktemp -d)
running=
# shellcheck disable=SC2329
finish() { if [ -n "$running" ]; then kill "$running" 2>/dev/null || true; fi; rm -rf "$root"; }
trap finish EXIT INT TERM
install -D -m 0755 "$binary" "$root/onvif-uplink"
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/etc/onvif-uplink" "$root/tmp"
chmod 0755 "$root"; chmod 1777 "$root/tmp"
printf 'devices: []\n' > "$root/etc/onvif-uplink/good.yaml"
printf 'devices: []\nnoSuchKey: 1\n' > "$root/etc/onvif-uplink/bad.yaml"

inside() {
    if [ "$(id -u)" = 0 ]; then env -i GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000 /usr/sbin/chroot --userspec=65532:65532 "$root" "$@"
    else env -i unshare --user --map-root-user /usr/sbin/chroot "$root" "$@"; fi
}
passed=0; failed=0
report() { if [ "$2" = 0 ]; then passed=$((passed + 1)); echo "ok    $1"; else failed=$((failed + 1)); echo "FAIL  $1"; fi; }
# expect STATUS SENTENCE COMMAND…
expect() {
    wanted=$1; sentence=$2; shift 2; got=0
    "$@" > "$root.out" 2>&1 || got=$?
    if [ "$got" = "$wanted" ]; then report "$sentence" 0; else report "$sentence: exit status $got: $(cat "$root.out")" 1; fi
    rm -f "$root.out"
}
static() { ! readelf -l "$1" | grep -q 'INTERP'; }

expect 0 "the binary names no loader" static "$binary"
expect 0 "it prints its version in an empty root" inside /onvif-uplink --version
expect 0 "check accepts a good document" inside /onvif-uplink check /etc/onvif-uplink/good.yaml
expect 78 "check refuses a bad document with 78" inside /onvif-uplink check /etc/onvif-uplink/bad.yaml
expect 64 "an unknown flag ends with 64" inside /onvif-uplink run --no-such-flag

# The chroot command becomes the program, so the process id is the program's own.
if [ "$(id -u)" = 0 ]; then
    port=$(/usr/bin/env python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
    env -i /usr/sbin/chroot --userspec=65532:65532 "$root" /onvif-uplink run --config /etc/onvif-uplink/good.yaml \
        --admin "127.0.0.1:$port" > "$root.log" 2>&1 &
    running=$!
    expect 0 "run answers /livez in an empty root" curl -fsS --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "http://127.0.0.1:$port/livez"
    kill -TERM "$running"
    got=0; wait "$running" || got=$?
    running=
    if [ "$got" = 0 ]; then report "SIGTERM ends it with 0" 0; else report "SIGTERM ends it with 0, not $got: $(cat "$root.log")" 1; fi
    rm -f "$root.log"
else
    echo "skipped: run in the empty root as 65532 needs root"
fi
size=$(stat -c %s "$binary")
echo "binary: $((size / 1024)) KiB ($PROFILE)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
