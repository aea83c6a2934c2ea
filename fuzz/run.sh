#!/bin/sh
# Fuzzes every file that is read from a template directory.
#
# Usage: fuzz/run.sh [SECONDS]        (each target; default 60)
#
# libFuzzer needs the compiler's coverage pass, which the pinned toolchain has, so neither a nightly
# one nor cargo-fuzz is asked for; `cargo +nightly fuzz run <target>` works on the same directory.
# The code is free of `unsafe`, so an address sanitizer would find nothing more.
set -eu
cd "$(dirname "$0")"

seconds=${1:-60}
built=../target/fuzz
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cdebug-assertions -Ccodegen-units=1'
# With a target named, build scripts and macros are built without these flags.
host=$(rustc -vV | sed -n 's/^host: //p')
targets='manifest sealed_manifest failures template'

# shellcheck disable=SC2046,SC2086,SC2116 # lists of words, in one line
RUSTFLAGS=$(echo $flags) cargo build --quiet --release --locked --target "$host" --target-dir "$built" \
    $(for target in $targets; do echo --bin "$target"; done)

# Templates of the fuzzed directories, which a fuzzer that is stopped does not remove.
TMPDIR=$(mktemp -d)
export TMPDIR

failed=0
for target in $targets; do
    mkdir -p "$built/found" "$built/corpus/$target"
    IMPRINT_SEED="$built/corpus/$target/seed" "$built/$host/release/$target" "$built/corpus/$target" \
        -max_total_time="$seconds" -max_len=16384 -artifact_prefix="$built/found/$target-" \
        -print_final_stats=1 >"$built/$target.log" 2>&1 &
    eval "pid_$target=$!"
done
for target in $targets; do
    eval "pid=\$pid_$target"
    # shellcheck disable=SC2154 # set by eval
    if wait "$pid"; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$built/$target.log")
        echo "fuzz: $target: $runs inputs, nothing found"
    else
        failed=1
        echo "fuzz: $target FAILED, see target/fuzz/$target.log"
        tail -n 20 "$built/$target.log"
    fi
done
rm -rf "$TMPDIR"
exit $failed
