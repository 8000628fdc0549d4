#!/usr/bin/env bash
# build.sh DIRECTORY: builds for cluster.sh what it needs of Go modules into DIRECTORY/bin: Kubernetes, kubectl where the machine has none, kube-router, which holds Pods to
# NetworkPolicies, and what containerd starts gVisor by; minutes of all processors, once.
set -euo pipefail
VERSION=1.34.4
ROUTER=github.com/cloudnativelabs/kube-router/v2
ROUTER_VERSION=2.1.0
# The last that speaks with containerd 1.6, Debian 12's; a newer runsc works with it.
GVISOR_VERSION=v0.0.0-20260224225140-573d5e7127a8
bin=$1/bin
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet"
command -v kubectl > /dev/null || programs="kubectl $programs"
for program in $programs containerd-shim-runsc-v1 kube-router; do [ -x "$bin/$program" ] || missing=yes; done
[ -n "${missing:-}" ] || exit 0

work=$1/build
rm -rf "$work"
mkdir -p "$work"/{kubernetes,gvisor/service,router}
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

cd "$work/gvisor"
go mod init gvisor
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

cd "$work/router"
printf '//go:build tools\n\npackage tools\n\nimport _ "%s/cmd/kube-router"\n' $ROUTER > tools.go
go mod init router
go get "$ROUTER@v$ROUTER_VERSION"
go mod tidy
go build -ldflags '-s -w' -o "$bin/kube-router" "$ROUTER/cmd/kube-router"
cd "$1"
rm -rf "$work"
