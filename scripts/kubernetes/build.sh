#!/usr/bin/env bash
# build.sh DIRECTORY: builds for cluster.sh and its tests what they need of Go modules into DIRECTORY/bin, each if it is not there: Kubernetes, kubectl where the machine has none,
# kube-router, which holds Pods to NetworkPolicies, what containerd starts gVisor by, and helm; minutes of all processors, once.
set -euo pipefail
VERSION=1.34.4
ROUTER_VERSION=2.1.0
HELM_VERSION=3.22.0
# The last that speaks with containerd 1.6, Debian 12's; a newer runsc works with it.
GVISOR_VERSION=v0.0.0-20260224225140-573d5e7127a8
bin=$1/bin
work=$1/build
export GOFLAGS="-mod=mod ${GOFLAGS:-}" CGO_ENABLED=0

# within NAME: in a module of its own.
within() { rm -rf "${work:?}/$1"; mkdir -p "$work/$1"; cd "$work/$1"; go mod init "$1"; }

# imports PATH...: has the module need these programs.
imports() {
  printf '//go:build tools\n\npackage tools\n\nimport (\n' > tools.go
  printf '\t_ "%s"\n' "$@" >> tools.go
  echo ')' >> tools.go
}

build_kubernetes() {
  local programs=("$@") file part program
  within kubernetes
  imports "${programs[@]/#/k8s.io/kubernetes/cmd/}"
  # Kubernetes names its own parts by where they lie in its repository; those are modules too, with another first number.
  go get "k8s.io/kubernetes@v$VERSION" 2> /dev/null || true
  file=$(go mod download -json "k8s.io/kubernetes@v$VERSION" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
  for part in $(awk '/=> \.\/staging/ { print $1 }' "$file"); do
    go mod edit -replace "$part=$part@v0${VERSION#1}"
  done
  go mod edit -require "k8s.io/kubernetes@v$VERSION"
  go mod tidy
  for program in "${programs[@]}"; do
    go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$VERSION" -o "$bin/$program" "k8s.io/kubernetes/cmd/$program"
  done
}

build_shim() {
  within gvisor
  mkdir service
  go get "gvisor.dev/gvisor/shim@$GVISOR_VERSION"
  # It ends when it may not tell the kernel to spare it, which takes CAP_SYS_RESOURCE.
  sed 's|return "", fmt.Errorf("failed to set OOM Score on shim: %w", err)|_ = err|' \
    "$(go list -m -f '{{.Dir}}' gvisor.dev/gvisor)/pkg/shim/v1/service.go" > service/service.go
  cat > main.go <<'G'
package main

import (
	"github.com/containerd/containerd/runtime/v2/shim"

	service "gvisor/service"
)

func main() { shim.Run("io.containerd.runsc.v1", service.New) }
G
  go mod tidy
  go build -trimpath -ldflags '-s -w' -o "$bin/containerd-shim-runsc-v1" .
}

# build_as_is MODULE VERSION PROGRAM
build_as_is() {
  within "$3"
  imports "$1/cmd/$3"
  go get "$1@v$2"
  go mod tidy
  go build -ldflags '-s -w' -o "$bin/$3" "$1/cmd/$3"
}

missing=()
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet; do [ -x "$bin/$program" ] || missing+=("$program"); done
command -v kubectl > /dev/null || [ -x "$bin/kubectl" ] || missing+=(kubectl)
[ ${#missing[@]} = 0 ] || build_kubernetes "${missing[@]}"
[ -x "$bin/containerd-shim-runsc-v1" ] || build_shim
[ -x "$bin/kube-router" ] || build_as_is github.com/cloudnativelabs/kube-router/v2 $ROUTER_VERSION kube-router
[ -x "$bin/helm" ] || build_as_is helm.sh/helm/v3 $HELM_VERSION helm
rm -rf "$work"
