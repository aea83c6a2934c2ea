#!/bin/sh
# What to run before a push: format, clippy and the unit tests of what changed, and of what depends on
# it. Needs no network and no root. Ends with 0 if all of it passed.
#
# Usage: tests/check.sh [BASE]
#
# Changed is what differs from the merge base with BASE, uncommitted and new files included. Without
# BASE it is the upstream of this branch, else origin's default branch, else main.
set -u
cd "$(dirname "$0")/.." || exit 1

began=$(date +%s)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM HUP
failed=

# step NAME COMMAND...: one line where it passes, and what it printed where it does not.
step() {
    name=$1
    shift
    at=$(date +%s)
    if "$@" > "$log" 2>&1; then
        echo "ok      $name, $(($(date +%s) - at)) s"
    else
        failed="$failed $name"
        cat "$log"
        echo "FAILED  $name, $(($(date +%s) - at)) s"
    fi
}

# base: the commit that the changes are counted from.
base() {
    for ref in ${1:+"$1"} '@{upstream}' origin/HEAD main; do
        git merge-base HEAD "$ref" 2>/dev/null && return
        if [ "$ref" = "${1:-}" ]; then echo "There is no commit $1" >&2 && return 1; fi
    done
    git rev-parse HEAD
}

# crate_of FILE: the name of the crate that the file belongs to. That of the fuzz targets is no part
# of the workspace.
crate_of() {
    folder=$1
    while folder=$(dirname "$folder") && [ "$folder" != . ]; do
        if [ "$folder" = fuzz ]; then return; fi
        if [ -f "$folder/Cargo.toml" ]; then
            sed -n 's/^name = "\(.*\)"/\1/p' "$folder/Cargo.toml" | head -n 1
            return
        fi
    done
}

# crates_of: the crates of the files named on standard input.
crates_of() {
    while read -r file; do
        case $file in
        Cargo.toml | Cargo.lock | clippy.toml | rust-toolchain.toml) workspace ;;
        *.md | *.sh | *.bats) readers_of "$file" ;;
        *) crate_of "$file"; readers_of "$file" ;;
        esac
    done | sort -u
}

# readers_of FILE: the crates with a source that names the file from where it is.
readers_of() {
    git grep -lF -e "/$1\"" -- '*.rs' | while read -r reader; do crate_of "$reader"; done
}

# workspace: all crates.
workspace() { git ls-files '*/Cargo.toml' | while read -r file; do crate_of "$file"; done; }

# with_dependents: the crates named on standard input, and those of this work tree that depend on them.
with_dependents() {
    while read -r crate; do
        cargo tree --workspace --offline --locked --edges all --invert "$crate" --prefix none 2>/dev/null |
            grep -F "($PWD" | cut -d' ' -f1
    done | sort -u
}

# fuzz_lock: the fuzz targets have a lock file of their own, which follows the crates they use.
fuzz_lock() {
    ! cargo tree --manifest-path fuzz/Cargo.toml --offline --locked 2>&1 >/dev/null | grep 'lock file'
}

base=$(base "$@") || exit 2
changed=$({ git diff --name-only "$base" && git ls-files --others --exclude-standard; } | sort -u)
if [ -z "$changed" ]; then
    echo "Nothing differs from $(git rev-parse --short "$base")"
    exit 0
fi
if ! cargo tree --workspace --offline --locked > "$log" 2>&1; then
    cat "$log"
    echo 'The dependencies are not on this machine, or Cargo.lock is not up to date: make build mends both'
    exit 1
fi
crates=$(echo "$changed" | crates_of | with_dependents)
count=$(echo "$changed" | wc -l)
echo "$count files differ from $(git rev-parse --short "$base"); crates: $(echo "${crates:-none}" | tr '\n' ' ')"

# shellcheck disable=SC2086 # a list of words
packages=$(printf -- '-p %s ' $crates)
if echo "$changed" | grep -q 'Cargo\.\(toml\|lock\)$'; then step fuzz/Cargo.lock fuzz_lock; fi
step format cargo fmt --all --check
if command -v shellcheck >/dev/null; then step scripts tests/scripts.sh; fi
if [ -n "$crates" ]; then
    # shellcheck disable=SC2086
    step clippy cargo clippy --quiet --offline --locked $packages --all-targets -- -D warnings
fi
# The rules of texts and of layers hold for every file, and take two seconds each.
# shellcheck disable=SC2086
step 'unit tests' cargo test --quiet --offline --locked --no-fail-fast -p tidy -p layers ${crates:+$packages}

if [ -n "$failed" ]; then
    echo "Failed:$failed ($(($(date +%s) - began)) s)"
    exit 1
fi
echo "All passed in $(($(date +%s) - began)) s. \`make test\` runs everything, with VMs."
