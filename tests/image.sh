#!/bin/sh
# What the image holds, without an image engine: the static binary of the Dockerfile alone in an empty root, as user
# 65532, with the CA bundle. Proves that it needs no file of the host (no libc, no loader, no shell), that names resolve
# there, that a remote is verified against the bundle, and that it is small. Needs root; without it, user namespaces for
# the first half.
# Prints one line per check and `N passed, N failed`; exit status 1 on a failure.
# PROFILE=dev builds faster; the default is what the image has.
set -eu
umask 022  # what runs as 65532 must be able to read it
cd "$(dirname "$0")/.."
PROFILE=${PROFILE:-release}
TARGET=$(uname -m)-unknown-linux-gnu
RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$PROFILE" --bin onvif-uplink --target "$TARGET"
case $PROFILE in dev) folder=debug ;; *) folder=$PROFILE ;; esac
binary=${CARGO_TARGET_DIR:-target}/$TARGET/$folder/onvif-uplink

root=$(mktemp -d)
running=
# shellcheck disable=SC2329
finish() { for process in $running; do kill "$process" 2>/dev/null || true; done; rm -rf "$root"; }
trap finish EXIT INT TERM
install -D -m 0755 "$binary" "$root/onvif-uplink"
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/etc/onvif-uplink" "$root/tmp"
chmod 0755 "$root"; chmod 1777 "$root/tmp"
printf 'devices: []\n' > "$root/etc/onvif-uplink/good.yaml"
printf 'devices: []\nnoSuchKey: 1\n' > "$root/etc/onvif-uplink/bad.yaml"

# What a container runtime adds: names must resolve without any library of the host.
printf '127.0.0.1 localhost gateway.internal\n' > "$root/etc/hosts"
# A gateway whose authority is in the bundle only, as with a public one; a camera's certificate from the same authority.
pki=$root/etc/onvif-uplink
new_key() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@" 2>/dev/null; }
sign() { openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 2 -extfile "$pki/$1.ext" -out "$pki/$1.crt" 2>/dev/null; }
new_key -x509 -days 2 -subj "/CN=Image test CA" -keyout "$pki/ca.key" -out "$pki/ca.crt"
for name in gateway.internal camera-1; do
    new_key -subj "/CN=$name" -keyout "$pki/$name.key" -out "$pki/$name.csr"
    printf 'subjectAltName=DNS:%s\n' "$name" > "$pki/$name.ext"
    sign "$name"
done
cat "$pki/ca.crt" >> "$root/etc/ssl/certs/ca-certificates.crt"
chmod 0644 "$pki"/*

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
# Asks /status of port $1 up to thirty times for the text $2, both without spaces.
says() {
    for _ in $(seq 30); do
        body=$(curl -fsS --noproxy '*' "http://127.0.0.1:$1/status" | tr -d ' \n')
        case $body in *"$2"*) return 0 ;; esac
        sleep 1
    done
    echo "$body"; return 1
}
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
# start LOG COMMAND…: the program in the root, in the background; chroot becomes it, so $! is its own process id.
start() {
    log=$1; shift
    env -i GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000 \
        /usr/sbin/chroot --userspec=65532:65532 "$root" "$@" > "$log" 2>&1 &
    running="$running $!"
}
static() { ! readelf -l "$1" | grep -q 'INTERP'; }

expect 0 "the binary names no loader" static "$binary"
expect 0 "it prints its version in an empty root" inside /onvif-uplink --version
expect 0 "check accepts a good document" inside /onvif-uplink check /etc/onvif-uplink/good.yaml
expect 78 "check refuses a bad document with 78" inside /onvif-uplink check /etc/onvif-uplink/bad.yaml
expect 64 "an unknown flag ends with 64" inside /onvif-uplink run --no-such-flag

if [ "$(id -u)" = 0 ]; then
    uplinks=$(free_port); front=$(free_port); admin=$(free_port); gateway_admin=$(free_port)
    cat > "$pki/uplinks.yaml" <<YAML
devices:
  - name: camera-1
    http: http://127.0.0.1:8080
    uplinks:
      - { remoteAddress: "https://gateway.internal:$uplinks/uplink", certificateID: own, userLevel: User }
      - { remoteAddress: "https://localhost:1/", certificateID: own, userLevel: User }
certificates:
  own: { certFile: camera-1.crt, keyFile: camera-1.key }
YAML
    start "$root/gateway.log" /onvif-uplink gateway --listen "127.0.0.1:$uplinks" --front "127.0.0.1:$front" \
        --admin "127.0.0.1:$gateway_admin" --client-ca /etc/onvif-uplink/ca.crt \
        --cert /etc/onvif-uplink/gateway.internal.crt --key /etc/onvif-uplink/gateway.internal.key
    start "$root/sidecar.log" /onvif-uplink run --config /etc/onvif-uplink/uplinks.yaml --admin "127.0.0.1:$admin"
    expect 0 "run answers /livez in an empty root" \
        curl -fsS --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "http://127.0.0.1:$admin/livez"
    expect 0 "a name resolves and its closed port is reported as connection-refused" says "$admin" connection-refused
    expect 0 "a remote whose authority is in the system's bundle is reached: Online" says "$admin" '"status":"Online"'
    expect 0 "status asks the sidecar from inside" inside /onvif-uplink status --admin "127.0.0.1:$admin"
    for process in $running; do kill -TERM "$process" 2>/dev/null || true; done
    for process in $running; do
        got=0; wait "$process" || got=$?
        if [ "$got" = 0 ]; then report "SIGTERM ends it with 0" 0; else report "SIGTERM ends it with 0, not $got" 1; fi
    done
    running=
    if [ "$failed" != 0 ]; then tail -n 20 "$root/gateway.log" "$root/sidecar.log"; fi
else
    echo "skipped: run in the empty root as 65532 needs root"
fi
# As a registry keeps the layers: what a node pulls.
compressed=$(tar -C "$root" -cz onvif-uplink etc/ssl/certs/ca-certificates.crt | wc -c)
if [ "$PROFILE" = release ]; then
    expect 0 "the image has at most 10 MiB compressed" [ "$compressed" -le $((10 * 1024 * 1024)) ]
fi
echo "binary: $(($(stat -c %s "$binary") / 1024)) KiB ($PROFILE), image: $((compressed / 1024)) KiB compressed"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
