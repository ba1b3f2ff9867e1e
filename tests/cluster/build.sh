#!/usr/bin/env bash
# Builds the test cluster's Go programs once into the cache, and prints the folder they lie in.
# The folder is named for a hash of everything that pins them. A second caller waits for the first.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${TRAININGJOB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainingjob}/cluster
key=$(cd "$here/go" && sha256sum */go.mod */go.sum */main.go 2>/dev/null | sha256sum | cut -c 1-16)
bin=$cache/$key/bin

if [ -x "$bin/kubectl" ]; then
    printf '%s\n' "$bin"
    exit 0
fi
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ -x "$bin/kubectl" ]; then
    printf '%s\n' "$bin"
    exit 0
fi

go=$("$here/../tools/go.sh")
scratch=$(mktemp -d "$cache/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"

build() { # MODULE PACKAGE LDFLAGS
    echo "building $1" >&2
    (cd "$here/go/$1" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local nice -n 5 \
        "$go" build -mod=readonly -trimpath -ldflags "-s -w $3" -o "$scratch/bin/$1" "$2") >&2
}

echo "The first build takes about a quarter of an hour on two cores." >&2
# Without its version kubeadm and kubelet call themselves v0.0.0 and refuse each other.
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$here/go/kubernetes/go.mod")
set_version="-X k8s.io/component-base/version"
IFS=. read -r major minor _ <<<"${version#v}"
build kubernetes . "$set_version.gitVersion=$version $set_version.gitMajor=$major $set_version.gitMinor=$minor"
build coredns . ""
version=$(awk '$1 == "helm.sh/helm/v3" { print $2 }' "$here/go/helm/go.mod")
build helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=$version"
build pause . ""
for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubeadm kubectl; do
    ln -s kubernetes "$scratch/bin/$name"
done

mkdir -p "$cache/$key"
mv -T "$scratch/bin" "$bin"
printf '%s\n' "$bin"
