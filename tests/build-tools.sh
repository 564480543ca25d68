#!/bin/sh
# Builds what the Kubernetes tests use and no Debian package brings: Helm (4 and 3) and its checkers, cert-manager, and all parts of one
# node, from the Go modules that tests/tools/go.mod and go.sum pin, into target/tools/bin: `make kube-tools`. Needs Go 1.26 or newer.
# About twelve minutes on two cores with empty caches (the API server alone six; its link step takes 3 GiB), seconds after
# that: a program is built again only when the pins, this script or the Go release change. Prints what each took.
# Words as arguments: only those programs, as in `tests/build-tools.sh helm kubeconform`.
set -eu
cd "$(dirname "$0")/.."
command -v go >/dev/null || { echo "Go is not installed: the Kubernetes tests build their tools with Go 1.26 or newer (https://go.dev/dl/)" >&2; exit 1; }
version=$(go env GOVERSION)
minor=${version#go1.}; minor=${minor%%[!0-9]*}
case $version in go1.*) ;; *) minor=999 ;; esac
[ "${minor:-0}" -ge 26 ] || { echo "$version is too old: the Kubernetes tests build their tools with Go 1.26 or newer (https://go.dev/dl/)" >&2; exit 1; }
# The release that is installed builds, never one that it fetches; a go.sum that lacks something is an error.
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -trimpath -buildvcs=false" CGO_ENABLED=0
bin=$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools/bin" && cd "${CARGO_TARGET_DIR:-target}/tools/bin" && pwd)
stamp=$({ echo "$version"; cat tests/build-tools.sh tests/tools/go.mod tests/tools/go.sum tests/tools/*/*.go; } | sha256sum | cut -d' ' -f1)
kubernetes=$(sed -n 's#^require k8s.io/kubernetes \(v1\.[0-9.]*\)$#\1#p; s#^\tk8s.io/kubernetes \(v1\.[0-9.]*\).*#\1#p' tests/tools/go.mod)
rest=${kubernetes#v1.}
in_kubernetes=k8s.io/component-base/version

# build NAME PACKAGE: one program, unless what is there comes from the same pins.
build() {
    case " $wanted " in *" $1 "*|"  ") ;; *) return 0 ;; esac
    if [ -x "$bin/$1" ] && [ "$(cat "$bin/.$1.stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
    started=$(date +%s)
    # Written under another name first: a build that is cut off leaves no program behind. Drivers of file systems that no
    # node of the tests has would need C libraries. A node tells its own version, the API server of a client judges it.
    (cd tests/tools && go build -tags "no_btrfs no_devmapper no_zfs" -o "$bin/.$1.new" \
        -ldflags "-s -w -X $in_kubernetes.gitVersion=$kubernetes -X $in_kubernetes.gitMajor=1 -X $in_kubernetes.gitMinor=${rest%%.*}" "$2")
    mv "$bin/.$1.new" "$bin/$1"
    echo "$stamp" > "$bin/.$1.stamp"
    printf '%6d s  %s\n' "$(($(date +%s) - started))" "$1"
}

wanted=$*
# The checkers of the charts first: they are useful alone.
build helm helm.sh/helm/v4/cmd/helm
build helm3 helm.sh/helm/v3/cmd/helm
build helm-unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest
build kubeconform github.com/yannh/kubeconform/cmd/kubeconform
build kubectl k8s.io/kubernetes/cmd/kubectl
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build etcd go.etcd.io/etcd/server/v3
build crane github.com/google/go-containerregistry/cmd/crane
build containerd github.com/containerd/containerd/v2/cmd/containerd
build containerd-shim-runc-v2 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
build ctr github.com/containerd/containerd/v2/cmd/ctr
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
build kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
build kubelet k8s.io/kubernetes/cmd/kubelet
build cert-manager ./cert-manager
# What it is asked by: the definitions of its resources, from the same module.
if [ -x "$bin/cert-manager" ]; then
    definitions=$(cd tests/tools && go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)/deploy/crds
    mkdir -p "$bin/../share/cert-manager"
    install -m 0644 "$definitions"/cert-manager.io_*.yaml "$definitions"/acme.cert-manager.io_*.yaml "$bin/../share/cert-manager/"
fi
echo "the Kubernetes tools are there"
