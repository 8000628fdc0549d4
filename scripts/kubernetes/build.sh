#!/usr/bin/env bash
# build.sh DIRECTORY: builds for cluster.sh what it needs of Go modules into DIRECTORY/bin: Kubernetes, kubectl where the machine has none, and kube-router, which holds Pods to
# NetworkPolicies; minutes of all processors, once.
set -euo pipefail
VERSION=1.34.4
ROUTER=github.com/cloudnativelabs/kube-router/v2
ROUTER_VERSION=2.1.0
bin=$1/bin
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet"
command -v kubectl > /dev/null || programs="kubectl $programs"
for program in $programs kube-router; do [ -x "$bin/$program" ] || missing=yes; done
[ -n "${missing:-}" ] || exit 0

work=$1/build
rm -rf "$work"
mkdir -p "$work"/{kubernetes,router}
cd "$work/kubernetes"
export GOFLAGS="-mod=mod ${GOFLAGS:-}" CGO_ENABLED=0
{
  printf '//go:build tools\n\npackage tools\n\nimport (\n'
  for program in $programs; do printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$program"; done
  printf ')\n'
} > tools.go
go mod init kubernetes
# Kubernetes names its own parts by where they lie in its repository; those are modules too, with another first number.
go get "k8s.io/kubernetes@v$VERSION" 2> /dev/null || true
file=$(go mod download -json "k8s.io/kubernetes@v$VERSION" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
for part in $(awk '/=> \.\/staging/ { print $1 }' "$file"); do
  go mod edit -replace "$part=$part@v0${VERSION#1}"
done
go mod edit -require "k8s.io/kubernetes@v$VERSION"
go mod tidy
for program in $programs; do
  go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$VERSION" -o "$bin/$program" "k8s.io/kubernetes/cmd/$program"
done

cd "$work/router"
printf '//go:build tools\n\npackage tools\n\nimport _ "%s/cmd/kube-router"\n' $ROUTER > tools.go
go mod init router
go get "$ROUTER@v$ROUTER_VERSION"
go mod tidy
go build -ldflags '-s -w' -o "$bin/kube-router" "$ROUTER/cmd/kube-router"
cd "$1"
rm -rf "$work"
