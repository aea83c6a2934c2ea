#!/bin/sh
# Runs everything that CI checks, quickest checks first, and continues after a failed step. The last
# line counts passed, failed and skipped: each tool once, and each test.
set -u
cd "$(dirname "$0")/.." || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP
passed=0 failed=0 skipped=0

# check NAME COMMAND...: one check that either passes or fails.
check() {
    name=$1
    shift
    began=$(date +%s)
    echo "== $name"
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "== $name FAILED"; fi
    echo "== $name: $(($(date +%s) - began)) s"
}

# count NAME COMMAND...: tests, counted by their own closing lines.
count() {
    name=$1
    shift
    began=$(date +%s)
    echo "== $name"
    { "$@" 2>&1; echo "ended with $?"; } | tee "$log" | grep -v '^ended with '
    result=$(sed -n 's/^ended with //p' "$log")
    tally=$(awk '/^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) p += $(i - 1)
            if ($i ~ /^failed/) f += $(i - 1)
            if ($i ~ /^ignored/) s += $(i - 1)
        }
    } END { printf "%d %d %d", p, f, s }' "$log")
    # shellcheck disable=SC2086 # three words
    set -- $tally
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    # A run that failed without a failed test did not compile, or died.
    if [ "${result:-1}" != 0 ] && [ "$2" = 0 ]; then failed=$((failed + 1)); fi
    echo "== $name: $(($(date +%s) - began)) s"
}

check format cargo fmt --all --check
check scripts tests/scripts.sh
check clippy cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
check deny cargo deny --log-level error check bans licenses sources
if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    check advisories cargo deny --log-level error check advisories
else
    echo '== advisories: SKIPPED, their database cannot be fetched here'
    skipped=$((skipped + 1))
fi
check guest guest/build.sh build/guest
check build make --no-print-directory build
count 'unit tests' cargo test --workspace --exclude e2e-tests --locked --no-fail-fast
count 'failing and many templates' env IMPRINT_E2E=1 IMPRINT_RESTORES=20 IMPRINT_STARTS=20 \
    cargo test -p factory --locked --test faults --test stress
check fuzzing fuzz/run.sh 60
count 'end-to-end tests' env IMPRINT_E2E=1 cargo test -p e2e-tests --locked --no-fail-fast
# The cases in which a release of containerd could behave differently; `make test-containerd` runs all.
for release in 1.7 2.1; do
    count "containerd $release" env IMPRINT_E2E=1 IMPRINT_CONTAINERD=$release \
        cargo test -p e2e-tests --locked --no-fail-fast --test e2e --test cri -- \
        booted::exec_runs restored::output_and restored::signals restored::pods:: restored::containers:: \
        restored::streams::exec_sync restored::resources::stats restored::death:: restored::sandbox_api:: snapshot_of_blockfile layers_of_erofs
done
count 'nested machine' tests/nested/all.sh

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
