#!/bin/sh
# Runs the end-to-end tests that need KVM, vhost-vsock, cgroup v2 or Cloud Hypervisor in the nested
# machine. Cloud Hypervisor is skipped if this machine has none. The last line counts.
#
# Usage: tests/nested/all.sh
#
# A guest in that machine is emulated twice and takes about twenty seconds to boot. So there is one
# test for each thing that only this machine can show.
set -u
cd "$(dirname "$0")/../.." || exit 1
export IMPRINT_E2E=1
# Nothing else runs containers in the machine.
unset IMPRINT_SHARED_HOST
export IMPRINT_TEST_RESTORE_TIMEOUT_MS=60000
# Each suite takes about two minutes.
export IMPRINT_NESTED_DEADLINE="${IMPRINT_NESTED_DEADLINE:-480}"
# The beginning of run.sh's message about a machine that reached its timeout.
HUNG='The nested machine hung'

# ctr: booted and restored starts, proof of the restore, ten clones (memory file, uniqueness), kill -9, a
# guest whose root is a disk image, and an agent that no other process of a host with vhost-vsock reaches.
ctr='booted::output_and_errors restored::output_and_errors restored::the_restore_is_proven
clones::ten_at_once templating::clones_are_unique restored::a_killed_vmm image::
restored::channel:: channel::a_vsock'
# CRI: booted and restored pods, networks, cgroups with statistics and limits, hot-plug, disk slots, kill -9.
cri='booted::resources::stats restored::resources::stats restored::network::pods restored::sizing::vmm_and
restored::sizing::a_vm_grows restored::devices::a_slot restored::death::of_the_vmm restored::memory::a_vm_that'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# suite PACKAGE TEST FILTER...: runs those tests of one program that match the filters, in one machine.
suite() {
    package=$1 test=$2
    shift 2
    echo "== nested machine: $test ${IMPRINT_TEST_HYPERVISOR:-qemu}"
    cargo test --locked -p "$package" --test "$test" --no-run > "$work/build" 2>&1
    program=$(sed -n "s/^ *Executable \(tests\/\)\{0,1\}$test\/main.rs (\(.*\))$/\2/p" "$work/build")
    for attempt in once again; do
        machine "$@"
        # A failed test prints its result and is not repeated. A machine that hangs, as emulated
        # virtualization sometimes does, is.
        grep -q "^$HUNG" "$work/one" || break
        echo "== nested machine: it hung ($attempt)"
    done
    # A guest in the machine hangs too, about once in several hundred boots. A test that failed for this
    # reason, and no other, runs once more.
    hung=$(tests/nested/hung.sh < "$work/one")
    if [ -n "$hung" ]; then
        echo "== nested machine: a guest hung before its agent answered, so once more: $hung"
        tests/nested/hung.sh --forgive < "$work/one"
        # shellcheck disable=SC2086 # words
        machine $hung
    fi
    # A machine that dies, and a test that does not compile, print no result.
    grep '^test result: ' "$work/one" || echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'
}

# machine FILTER...: one machine, which runs the program once. Its output is kept in $work/one, and shown without the result line.
machine() {
    if [ -n "$program" ]; then tests/nested/run.sh "$program" "$@" 2>&1; else cat "$work/build"; fi |
        tee "$work/one" | grep -v '^test result: '
}

# skipped REASON FILTER...: counts one skipped test per filter.
skipped() {
    echo "== nested machine: SKIPPED $(($# - 1)) tests: $1"
    echo "test result: ok. 0 passed; 0 failed; $(($# - 1)) ignored"
}

# shellcheck disable=SC2086 # lists of words
{
    suite e2e-tests e2e $ctr
    suite e2e-tests cri $cri
    if [ -n "${IMPRINT_TEST_CLH:-}" ] || command -v cloud-hypervisor >/dev/null; then
        export IMPRINT_TEST_HYPERVISOR=clh IMPRINT_TEST_KVM=1
        suite hypervisors conformance clh:: --test-threads=1
        suite e2e-tests e2e $ctr
        suite e2e-tests cri $cri
    else
        skipped 'Cloud Hypervisor: none on PATH or named by IMPRINT_TEST_CLH' conformance $ctr $cri
    fi
} | tee "$work/all"

awk '/^test result: / {
    for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) p += $(i - 1)
        if ($i ~ /^failed/) f += $(i - 1)
        if ($i ~ /^ignored/) s += $(i - 1)
    }
} END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 }' "$work/all"
