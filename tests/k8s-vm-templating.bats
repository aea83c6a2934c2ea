#!/usr/bin/env bats
# A pod of a cluster runs in a VM that was restored from a template.
#
# Needs kubectl with a cluster where a node has Imprint installed and RuntimeClass imprint exists;
# skipped otherwise. The same scenario without a cluster, through the CRI, is tests/cri/templating.
#
#   RUNTIME_CLASS       the RuntimeClass (imprint)
#   IMPRINT_NODE        the node to use (the first that is Ready)
#   IMPRINT_BIN         the tool on the node (/usr/local/bin/imprint)
#   IMPRINT_CONFIG      its configuration on the node (/etc/imprint/configuration.toml)
#   IMPRINT_RUN_ROOT    its run root on the node (/run/imprint)
#   TEST_IMAGE          an image with a shell, of one layer (busybox)

RUNTIME_CLASS=${RUNTIME_CLASS:-imprint}
IMPRINT_BIN=${IMPRINT_BIN:-/usr/local/bin/imprint}
IMPRINT_CONFIG=${IMPRINT_CONFIG:-/etc/imprint/configuration.toml}
IMPRINT_RUN_ROOT=${IMPRINT_RUN_ROOT:-/run/imprint}
TEST_IMAGE=${TEST_IMAGE:-quay.io/prometheus/busybox:latest}

POD=vm-templating-test
NODE_SHELL=imprint-node-shell
DROP_IN=99-k8s-vm-templating.toml
TEMPLATE_PATH=$IMPRINT_RUN_ROOT/vm/template

# Runs a command on the node, in the mount namespace of process 1: a template made in another one
# would be invisible to the shims.
on_node() {
    kubectl exec "$NODE_SHELL" -- nsenter --target 1 --mount -- sh -c "$1"
}

imprint() {
    on_node "$IMPRINT_BIN --config $IMPRINT_CONFIG $*"
}

config_dir() {
    on_node "dirname \"\$(readlink -f $IMPRINT_CONFIG)\""
}

start_node_shell() {
    kubectl apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $NODE_SHELL
spec:
  nodeName: $NODE
  hostPID: true
  restartPolicy: Never
  containers:
  - name: shell
    image: $TEST_IMAGE
    command: ["sleep", "3600"]
    securityContext:
      privileged: true
YAML
    kubectl wait --for=condition=Ready "pod/$NODE_SHELL" --timeout=120s
}

start_pod() {
    kubectl apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata:
  name: $POD
spec:
  runtimeClassName: $RUNTIME_CLASS
  nodeName: $NODE
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 0
  securityContext:
    supplementalGroups: [10]
  containers:
  - name: busybox
    image: $TEST_IMAGE
    command: ["sleep", "120"]
YAML
    kubectl wait --for=condition=Ready "pod/$POD" --timeout=90s
}

setup() {
    command -v kubectl >/dev/null || skip "there is no kubectl"
    kubectl get --raw /readyz >/dev/null 2>&1 || skip "no cluster answers"
    kubectl get runtimeclass "$RUNTIME_CLASS" >/dev/null 2>&1 || skip "there is no RuntimeClass $RUNTIME_CLASS"
    NODE=${IMPRINT_NODE:-$(kubectl get nodes --no-headers | awk '$2 == "Ready" { print $1; exit }')}
    [ -n "$NODE" ] || skip "no node is Ready"
    kubectl delete pod "$POD" "$NODE_SHELL" --ignore-not-found --wait
    start_node_shell
    STARTED=$(on_node 'date "+%Y-%m-%d %H:%M:%S"')

    directory=$(config_dir)/config.d
    on_node "mkdir -p $directory && cat > $directory/$DROP_IN <<TOML
[hypervisor.qemu]
shared_fs = \"none\"
default_vcpus = 1
default_memory = 512
[factory]
enable_template = true
template_path = \"$TEMPLATE_PATH\"
TOML"
    imprint factory destroy || true
}

@test "Pod can be created with a templated VM" {
    imprint factory init

    run on_node "test -f $TEMPLATE_PATH/memory && echo found"
    [ "$status" -eq 0 ]
    [[ $output == *found* ]]

    start_pod
    run kubectl exec "$POD" -- echo "Hello from templated VM"
    [ "$status" -eq 0 ]
    [[ $output == *"Hello from templated VM"* ]]

    # The sandbox's VM is a link to one that was there before it.
    run on_node "find $IMPRINT_RUN_ROOT/vm -mindepth 1 -maxdepth 1 -type l ! -name template"
    [ "$status" -eq 0 ]
    [ -n "$output" ]

    # And it says itself that it was restored.
    sandbox=$(basename "$(echo "$output" | head -n 1)")
    run imprint explain "$sandbox"
    [ "$status" -eq 0 ]
    [[ $output == *"start: restored"* ]]

    kubectl delete pod "$POD" --wait
    run on_node "find $IMPRINT_RUN_ROOT/vm -mindepth 1 -maxdepth 1 -type l -name $sandbox"
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "Pod boots when there is no template" {
    start_pod
    run kubectl exec "$POD" -- echo "Hello from booted VM"
    [ "$status" -eq 0 ]
    [[ $output == *"Hello from booted VM"* ]]
    run imprint factory status
    [ "$status" -eq 0 ]
    [[ $output == *"vm factory is off"* ]]
}

@test "Clones are unique" {
    imprint factory init
    run imprint selftest
    [ "$status" -eq 0 ]
    [[ $output == *"the clones are unique"* ]]
}

teardown() {
    [ -n "${STARTED:-}" ] || return 0
    kubectl describe pod "$POD" || true
    kubectl delete pod "$POD" --ignore-not-found --wait || true
    imprint factory destroy || echo "warning: the template was not destroyed"
    on_node "rm -f \"$(config_dir)/config.d/$DROP_IN\"" || true
    on_node "journalctl --since '$STARTED' --no-pager -t containerd -t kubelet | tail -n 100" || true
    kubectl delete pod "$NODE_SHELL" --ignore-not-found --wait || true
}
