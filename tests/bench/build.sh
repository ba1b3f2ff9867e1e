#!/usr/bin/env bash
# Builds what the operator is measured with once into the cache, and prints the folder it lies in: etcd (kwok's watches need a newer one than
# distributions have), kwok (nodes and pods without machines) and Kubeflow's training operator, the last two with the manifests of their
# version. A second caller waits for the first.
#
# The training operator is built twice: as it is, and with the one limit raised that it has no flag for, 20 requests a second.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
kwok=v0.8.0
kubeflow=v1.8.1
etcd=v3.6.5
cache=${TRAININGJOB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainingjob}/bench
built=$cache/etcd-$etcd-kwok-$kwok-training-operator-$kubeflow

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ -d "$built" ]; then
    printf '%s\n' "$built"
    exit 0
fi

go=$("$here/../tools/go.sh")
scratch=$(mktemp -d "$cache/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/built"

install() { # MODULE VERSION PACKAGE
    echo "building $1 $2" >&2
    CGO_ENABLED=0 GOBIN=$scratch/built GOTOOLCHAIN=local nice -n 10 "$go" install -trimpath -ldflags "-s -w" "$1/$3@$2" >&2
}

folder() { # MODULE VERSION: where its source lies
    (cd "$scratch" && GOTOOLCHAIN=local "$go" mod download -json "$1@$2") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

echo "The first build takes some minutes on two cores." >&2
echo "building etcd $etcd" >&2
mkdir "$scratch/etcd" # its server can only be built as a part of another module
(cd "$scratch/etcd" && export CGO_ENABLED=0 GOTOOLCHAIN=local && "$go" mod init bench && "$go" get -tool "go.etcd.io/etcd/server/v3@$etcd" &&
    nice -n 10 "$go" build -trimpath -ldflags "-s -w" -o "$scratch/built/etcd" go.etcd.io/etcd/server/v3) >&2
install sigs.k8s.io/kwok "$kwok" cmd/kwok
install github.com/kubeflow/training-operator "$kubeflow" cmd/training-operator.v1
cp -r --no-preserve=mode "$(folder sigs.k8s.io/kwok "$kwok")/kustomize/stage" "$scratch/built/stages"
kubeflow_source=$(folder github.com/kubeflow/training-operator "$kubeflow")
cp -r --no-preserve=mode "$kubeflow_source" "$scratch/raised"
cp "$here/scale/raised.go.txt" "$scratch/raised/cmd/training-operator.v1/raised.go"
sed -i 's/ctrl\.NewManager(ctrl\.GetConfigOrDie(),/ctrl.NewManager(raised(ctrl.GetConfigOrDie()),/' "$scratch/raised/cmd/training-operator.v1/main.go"
grep -q 'raised(' "$scratch/raised/cmd/training-operator.v1/main.go"
echo "building it with 500 requests a second" >&2
(cd "$scratch/raised" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local nice -n 10 \
    "$go" build -mod=readonly -trimpath -ldflags "-s -w" -o "$scratch/built/training-operator-raised" ./cmd/training-operator.v1) >&2
cp -r --no-preserve=mode "$kubeflow_source/manifests/base/crds" "$scratch/built/crds"
mv -T "$scratch/built" "$built"
printf '%s\n' "$built"
