#!/usr/bin/env bash
# A Kubernetes cluster on this machine, for tests: no systemd, nothing installed, nothing left.
#
#   cluster.sh up      starts it with one node, node-1; prints KUBECONFIG=FILE and REGISTRY=HOST:PORT
#   cluster.sh add N   starts a further node, or one anew that was lost, up to node-9
#   cluster.sh lose N  as when a machine loses its power: nobody reaches the node any more, and everything on it ends
#   cluster.sh down    ends every process of it and removes what it made; also what an `up` left that failed
#
# Environment: BIN    kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-router (build.sh)
#              RUNSC  gVisor, for the RuntimeClass gvisor; none without it
#              STATE  a directory for everything that is written; `down` leaves STATE/cache alone
#
# The control plane and a registry listen on a bridge of the machine and on its loopback. A node is a network namespace behind that bridge with a mount
# namespace, in which the paths that kubelet, containerd and the network plugins have built in lead into STATE; so do the settings of the kernel that kubelet
# would change for the whole machine. Every process starts in a control group that its children cannot leave, and `down` ends what it finds there.
set -euo pipefail

NAME=skerrykube
NET=${NET:-10.213}      # NET.0.0/24 is the bridge, NET.N.0/24 are the Pods of node-N
API_PORT=6443
REGISTRY_PORT=5000
ETCD_PORT=${ETCD_PORT:-24790}
CNI=/usr/lib/cni

RUN=$STATE/run
CACHE=$STATE/cache
CGROUPS=/sys/fs/cgroup
export PATH=$CACHE/debian/usr/bin:$BIN:/usr/local/sbin:/usr/sbin:/sbin:$PATH

fail() { echo "cluster.sh: $*" >&2; exit 1; }

# hierarchies: where control groups are made. One in version 2, one for each controller in version 1.
hierarchies() {
  if [ -e $CGROUPS/cgroup.controllers ]; then echo $CGROUPS; else
    for each in $CGROUPS/*/; do [ ! -e "${each}cgroup.procs" ] || echo "${each%/}"; done
  fi
}

# make_group PATH: one in every hierarchy, of which processes can be members.
make_group() {
  local root group
  for root in $(hierarchies); do
    group=$root/$1
    mkdir -p "$group"
    [ ! -e "$group/cpuset.cpus" ] || [ -e "$root/cgroup.controllers" ] || {
      cat "$(dirname "$group")/cpuset.cpus" > "$group/cpuset.cpus"
      cat "$(dirname "$group")/cpuset.mems" > "$group/cpuset.mems"
    }
  done
}

# processes GROUP...: in these and in what is below them.
processes() {
  local root group
  for root in $(hierarchies); do
    for group; do find "$root/$group" -name cgroup.procs -exec cat {} + 2> /dev/null || true; done
  done | sort -un
}

# end_processes SIGNAL GROUP...: everything in a group of ours was started by this script, or by what it started.
end_processes() {
  local signal=$1 round all; shift
  for round in $(seq 100); do
    all=$(processes "$@")
    [ -n "$all" ] || return 0
    [ "$round" -lt 20 ] || signal=KILL
    kill -"$signal" $all 2> /dev/null || true
    sleep 0.1
  done
  fail "still running: $(echo $all)"
}

# remove_groups GROUP...: with those below them.
remove_groups() {
  local root group round
  for root in $(hierarchies); do
    for group; do
      for round in $(seq 20); do
        [ -d "$root/$group" ] || break
        find "$root/$group" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
      done
    done
  done
}

# of_node N: what follows is about that one.
of_node() {
  [[ "$1" =~ ^[1-9]$ ]] || fail 'which node, of 1 to 9?'
  N=$1
  NODE=$RUN/node-$N
  NETNS=$NAME-$N
  ADDRESS=$NET.0.$((N + 1))
}

# start NAME GROUP COMMAND...: in the background, its output in RUN/log.
start() {
  local name=$1 group=$NAME/$2 root; shift 2
  (
    for root in $(hierarchies); do echo "$BASHPID" > "$root/$group/cgroup.procs"; done
    exec setsid "$@" < /dev/null >> "$RUN/log/$name" 2>&1
  ) &
  echo $! > "$RUN/$name.pid"
}

# await SECONDS WHAT COMMAND...
await() {
  local until=$((SECONDS + $1)) what=$2; shift 2
  until "$@" > /dev/null 2>&1; do
    [ $SECONDS -lt $until ] || fail "$what did not come up: $RUN/log"
    sleep 0.2
  done
}

# Debian's etcd, registry and containerd, unpacked and not installed: no script of theirs starts anything.
fetch_programs() {
  local missing=() package
  command -v etcd > /dev/null || missing+=(etcd-server)
  command -v docker-registry > /dev/null || missing+=(docker-registry)
  command -v containerd > /dev/null && command -v ctr > /dev/null || missing+=(containerd)
  command -v runc > /dev/null || missing+=(runc)
  mkdir -p "$CACHE/packages" "$CACHE/debian"
  if [ ${#missing[@]} -gt 0 ]; then
    (cd "$CACHE/packages" && apt-get -qq download "${missing[@]}") || fail "apt-get download ${missing[*]}"
    for package in "$CACHE"/packages/*.deb; do dpkg-deb -x "$package" "$CACHE/debian"; done
  fi
  [ -x $CNI/bridge ] || fail "apt-get install containernetworking-plugins"
  for package in etcd docker-registry containerd ctr runc iptables ipset nsenter unshare openssl curl gcc kubelet kube-router; do
    command -v $package > /dev/null || fail "there is no $package"
  done
}

# The first process of each Pod, which Kubernetes would fetch from its own registry.
make_pause() {
  local work layer
  [ ! -s "$CACHE/pause.tar" ] || return 0
  work=$(mktemp -d "$CACHE/pause.XXXXXX")
  cat > "$work/pause.c" <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGTERM, leave);
  signal(SIGINT, leave);
  signal(SIGCHLD, reap);
  for (;;) pause();
}
C
  gcc -Os -static -o "$work/pause" "$work/pause.c"
  tar -C "$work" --owner=0 --group=0 -cf "$work/layer.tar" pause
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  echo '{"architecture":"'"$(dpkg --print-architecture)"'","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:'"$layer"'"]}}' > "$work/config.json"
  echo '[{"Config":"config.json","RepoTags":["localhost/pause:1"],"Layers":["layer.tar"]}]' > "$work/manifest.json"
  tar -C "$work" -cf "$CACHE/pause.tar" manifest.json config.json layer.tar
  rm -r "$work"
}

# certificate NAME SUBJECT [ALTERNATIVE NAMES]: with a kubeconfig that shows it.
certificate() {
  local pki=$RUN/pki
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$pki/$1.key" -subj "$2" 2> /dev/null |
    openssl x509 -req -days 30 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -out "$pki/$1.crt" \
      -extfile <(echo extendedKeyUsage=serverAuth,clientAuth; echo "${3:+subjectAltName=$3}") 2> /dev/null
  cat > "$RUN/$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://$NET.0.1:$API_PORT", certificate-authority: $pki/ca.crt}}]
users: [{name: test, user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
Y
}

make_certificates() {
  local pki=$RUN/pki
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$NAME" \
    -keyout "$pki/ca.key" -out "$pki/ca.crt" 2> /dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/accounts.key"
  certificate api /CN=kube-apiserver "IP:$NET.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc"
  certificate admin /O=system:masters/CN=admin
  certificate to-kubelet /O=system:masters/CN=to-kubelet
  certificate controllers /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
}

# api PATH [CURL ARGUMENTS...]
api() {
  local path=$1; shift
  curl -fsS --cacert "$RUN/pki/ca.crt" --cert "$RUN/pki/admin.crt" --key "$RUN/pki/admin.key" "https://$NET.0.1:$API_PORT$path" "$@"
}

make_bridge() {
  ip link add $NAME type bridge
  ip addr add $NET.0.1/24 dev $NAME
  ip link set $NAME up
}

make_network() {
  local other
  ip netns add $NETNS
  ip link add $NAME-v$N type veth peer name eth0 netns $NETNS
  ip link set $NAME-v$N master $NAME up
  ip -n $NETNS link set lo up
  ip -n $NETNS addr add $ADDRESS/24 dev eth0
  ip -n $NETNS link set eth0 up
  ip -n $NETNS route add default via $NET.0.1
  nsenter --net=/run/netns/$NETNS sysctl -qw net.ipv4.ip_forward=1 # of that namespace alone
  ip route replace $NET.$N.0/24 via $ADDRESS # that of a lost one stays: it leads nowhere
  for other in 1 2 3 4 5 6 7 8 9; do
    [ $other = $N ] || ip -n $NETNS route add $NET.$other.0/24 via $NET.0.$((other + 1))
  done
  # The one service of the cluster's that Pods ask for: there is nothing else here that leads from the addresses of services to Pods.
  nsenter --net=/run/netns/$NETNS iptables -t nat -A PREROUTING -d 10.96.0.1/32 -p tcp --dport 443 \
    -j DNAT --to-destination $NET.0.1:$API_PORT
}

start_control_plane() {
  local pki=$RUN/pki here=http://127.0.0.1
  start etcd system etcd --data-dir "$RUN/etcd" --listen-client-urls $here:$ETCD_PORT --advertise-client-urls $here:$ETCD_PORT \
    --listen-peer-urls $here:$((ETCD_PORT + 1)) --initial-advertise-peer-urls $here:$((ETCD_PORT + 1)) \
    --initial-cluster default=$here:$((ETCD_PORT + 1))
  start api system kube-apiserver --etcd-servers $here:$ETCD_PORT --bind-address $NET.0.1 --advertise-address $NET.0.1 \
    --secure-port $API_PORT --service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC --allow-privileged \
    --enable-admission-plugins NodeRestriction --client-ca-file "$pki/ca.crt" \
    --tls-cert-file "$pki/api.crt" --tls-private-key-file "$pki/api.key" \
    --kubelet-client-certificate "$pki/to-kubelet.crt" --kubelet-client-key "$pki/to-kubelet.key" \
    --kubelet-preferred-address-types InternalIP --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$pki/accounts.key" --service-account-signing-key-file "$pki/accounts.key"
  await 180 'the API server' api /readyz
  start controllers system kube-controller-manager --kubeconfig "$RUN/controllers.kubeconfig" --bind-address 127.0.0.1 \
    --leader-elect=false --use-service-account-credentials --root-ca-file "$pki/ca.crt" \
    --service-account-private-key-file "$pki/accounts.key"
  start scheduler system kube-scheduler --kubeconfig "$RUN/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
}

start_registry() {
  cat > "$RUN/registry.yml" <<Y
version: 0.1
storage: {filesystem: {rootdirectory: $RUN/registry}}
http: {addr: "$NET.0.1:$REGISTRY_PORT"}
Y
  start registry system docker-registry serve "$RUN/registry.yml"
  await 60 'the registry' curl -fsS "http://$NET.0.1:$REGISTRY_PORT/v2/"
}

start_containerd() {
  mkdir -p "$NODE"/{containerd,cni,hosts/$NET.0.1:$REGISTRY_PORT,settings}
  cat > "$NODE/enter" <<'S'
#!/bin/bash
# enter NODE COMMAND...: with the node's own copy of what its programs take for theirs.
set -e
node=$1; shift
mount --make-rprivate /
for path in /run/containerd /run/netns /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers; do
  mkdir -p $path "$node/files$path"
  mount --bind "$node/files$path" $path
done
mount --make-shared /run/netns
mount --make-shared /var/lib/kubelet
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=$node/settings/${setting//\//.}
  cat /proc/sys/$setting > "$copy"
  mount --bind "$copy" /proc/sys/$setting
done
exec "$@"
S
  chmod +x "$NODE/enter"
  cat > "$NODE/cni/10-bridge.conflist" <<J
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$NET.$N.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
J
  echo "[host.\"http://$NET.0.1:$REGISTRY_PORT\"]" > "$NODE/hosts/$NET.0.1:$REGISTRY_PORT/hosts.toml"
  cat > "$NODE/containerd.toml" <<T
version = 2
root = "$NODE/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Else a Pod needs CAP_SYS_RESOURCE of containerd, which not every machine's root has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$NODE/hosts"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$CNI"
    conf_dir = "$NODE/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
T
  if [ -n "${RUNSC:-}" ]; then
    printf 'binary_name = "%s"\n[runsc_config]\nplatform = "systrap"\n' "$RUNSC" > "$NODE/runsc.toml"
    cat >> "$NODE/containerd.toml" <<T
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
    runtime_type = "io.containerd.runsc.v1"
    pod_annotations = ["dev.gvisor.*"]
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc.options]
      TypeUrl = "io.containerd.runsc.v1.options"
      ConfigPath = "$NODE/runsc.toml"
T
  fi
  start containerd-$N system-$N nsenter --net=/run/netns/$NETNS -- unshare --mount --propagation private \
    "$NODE/enter" "$NODE" containerd --config "$NODE/containerd.toml"
  await 60 containerd ask_containerd version
  ask_containerd -n k8s.io images import "$CACHE/pause.tar" > /dev/null
}

ask_containerd() { ctr -a "$NODE/files/run/containerd/containerd.sock" "$@"; }

start_kubelet() {
  cat > "$NODE/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ADDRESS
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $RUN/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NAME/node-$N
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
volumePluginDir: $NODE/volume-plugins
Y
  start kubelet-$N system-$N nsenter --net=/run/netns/$NETNS --mount="/proc/$(cat "$RUN/containerd-$N.pid")/ns/mnt" -- \
    kubelet --config "$NODE/kubelet.yaml" --kubeconfig "$RUN/node-$N.kubeconfig" --hostname-override node-$N --node-ip $ADDRESS
}

# What holds Pods to NetworkPolicies, by rules in the node's namespace. The bridge above has connected them already.
start_policies() {
  start policies-$N system-$N nsenter --net=/run/netns/$NETNS --mount="/proc/$(cat "$RUN/containerd-$N.pid")/ns/mnt" -- \
    kube-router --kubeconfig "$RUN/admin.kubeconfig" --hostname-override node-$N --run-firewall --run-router=false \
    --run-service-proxy=false --health-port 0
}

node_is_ready() {
  api /api/v1/nodes/node-$N | tr -d ' \n' | grep -q '"type":"Ready","status":"True"' &&
    ! api /api/v1/nodes/node-$N | grep -q '"taints"' && api /api/v1/namespaces/default/serviceaccounts/default
}

up() {
  [ "$(id -u)" = 0 ] || fail 'it needs root'
  down
  mkdir -p "$RUN"/{log,pki} "$CACHE"
  fetch_programs
  make_pause
  make_group $NAME
  make_group $NAME/system
  make_bridge
  make_certificates
  start_registry
  start_control_plane
  add 1
  [ -z "${RUNSC:-}" ] || api /apis/node.k8s.io/v1/runtimeclasses -H 'content-type: application/json' > /dev/null \
    -d '{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}'
  echo "KUBECONFIG=$RUN/admin.kubeconfig"
  echo "REGISTRY=$NET.0.1:$REGISTRY_PORT"
}

add() {
  of_node "$1"
  [ ! -e "$NODE" ] || fail "node-$N is there"
  mkdir -p "$NODE"
  make_group $NAME/system-$N
  make_group $NAME/node-$N
  make_network
  certificate node-$N /O=system:nodes/CN=system:node:node-$N
  start_containerd
  start_kubelet
  await 180 "node-$N" node_is_ready
  start_policies
}

lose() {
  of_node "$1"
  [ -e "$NODE" ] || return 0
  ip link del $NAME-v$N
  end_processes KILL $NAME/system-$N $NAME/node-$N
  ip netns del $NETNS
  remove_groups $NAME/system-$N $NAME/node-$N
  unmount "$NODE"
  rm -rf "$NODE"
}

# unmount DIRECTORY: all below it.
unmount() {
  awk -v run="$1/" 'index($5, run) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r path; do
    umount -l "$path" || true
  done
}

down() {
  local each
  end_processes TERM $NAME
  for each in 1 2 3 4 5 6 7 8 9; do
    ip netns del $NAME-$each 2> /dev/null || true
    ip link del $NAME-v$each 2> /dev/null || true
  done
  ip link del $NAME 2> /dev/null || true
  remove_groups $NAME
  unmount "$RUN"
  rm -rf "$RUN"
  # Mount points of the nodes, where the machine had none.
  rmdir /run/containerd /var/lib/cni /var/lib/kubelet /var/log/pods /var/log/containers 2> /dev/null || true
}

case ${1:-} in
  up | down) "$1" ;;
  add | lose) "$1" "${2:-}" ;;
  *) fail 'up, add, lose or down?' ;;
esac
