# syntax=docker/dockerfile:1
# The image: one static binary, the CA bundle, a numeric user. No shell, no libc, nothing to update but itself.
#
# glibc with `+crt-static`, not musl: the same binary is built and tested by tests/image.sh without any engine, its memcpy
# and malloc are the faster ones, and name resolution by files and DNS is inside glibc since 2.34.
# Cross-built on the builder's own platform; emulation would take hours.

FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
ARG TARGETARCH
WORKDIR /src
# The C compiler and static libc for the target; ring and aws-lc need a compiler only.
RUN case "$TARGETARCH" in \
      amd64) pkgs="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" target=x86_64-unknown-linux-gnu cc=x86_64-linux-gnu-gcc ;; \
      arm64) pkgs="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" target=aarch64-unknown-linux-gnu cc=aarch64-linux-gnu-gcc ;; \
      *) echo "no build for $TARGETARCH: amd64 and arm64 are supported" >&2; exit 1 ;; \
    esac \
 && if [ "$(dpkg --print-architecture)" = "$TARGETARCH" ]; then pkgs="gcc libc6-dev"; cc=gcc; fi \
 && apt-get update && apt-get install -y --no-install-recommends ca-certificates $pkgs && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$target" \
 && upper=$(echo "$target" | tr a-z- A-Z_) && lower=$(echo "$target" | tr - _) \
 && printf 'export TARGET=%s CARGO_TARGET_%s_LINKER=%s CC_%s=%s\n' "$target" "$upper" "$cc" "$lower" "$cc" > /target.env
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    . /target.env && cargo build --locked --release --bin onvif-uplink --target "$TARGET" \
 && install -D -m 0755 "target/$TARGET/release/onvif-uplink" /out/onvif-uplink

# Empty: what the binary needs of a system is the CA bundle.
FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onvif-uplink" \
      org.opencontainers.image.description="ONVIF Uplink for cameras and NVRs that do not speak it: sidecar and gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/onvif-uplink /onvif-uplink
# glibc's `rep movsb` is several times slower than its vector loop for the copy into each TLS record.
ENV GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=100000000
# Numeric: Kubernetes' runAsNonRoot cannot verify a name.
USER 65532:65532
EXPOSE 9600
ENTRYPOINT ["/onvif-uplink"]
CMD ["--help"]
