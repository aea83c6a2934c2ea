#!/bin/sh
# Makes the guest with a small kernel, built from Debian's kernel source with kernel.config:
# OUTDIR/vmlinux and OUTDIR/initrd.img. It boots faster than Debian's kernel and has no modules.
# Building it takes about 7 minutes on two cores.
#
# Usage: guest/kernel.sh [OUTDIR]      (default build/guest-kernel)
#
# A kernel that was built from the same source and configuration is not built again. Needs what build.sh
# needs, and bc, bison, flex, gcc, libelf-dev, make, xz.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
out=${1:-$project/build/guest-kernel}
cache=$project/build/guest-cache
mkdir -p "$out" "$cache"
out=$(cd "$out" && pwd)

say() { echo "guest kernel: $*" >&2; }

. "$here/debian.sh"
. "$here/tree.sh"
packed=$(unpack "$(fetch linux-source-6.1)")

# held: checks that every line of kernel.config is in the resulting configuration. Kconfig silently drops
# an option that it does not know or whose dependencies are missing, and turns one on that another selects.
held() {
    grep '^CONFIG' "$here/kernel.config" | while read -r line; do
        grep -qxF "$line" "$tree/.config" || { say "$line was not taken" && exit 1; }
    done
    sed -n 's/^# \(CONFIG_[A-Z0-9_]*\) is not set$/\1/p' "$here/kernel.config" | while read -r name; do
        if grep -q "^$name=" "$tree/.config"; then say "$name was not left out" && exit 1; fi
    done
}

inputs=$(cat "$here/kernel.config" "$here/kernel.sh" | sha256sum | cut -c1-32)-$(basename "$packed")
if [ "$(cat "$out/inputs" 2>/dev/null)" != "$inputs" ]; then
    rm -f "$out/inputs"
    tree=$(mktemp -d "$cache/kernel.XXXXXX")
    trap 'rm -rf "$tree"' EXIT INT TERM
    say "unpacking the source"
    tar -C "$tree" --strip-components=1 -xf "$packed"/usr/src/linux-source-*.tar.xz
    (
        cd "$tree"
        make -s tinyconfig
        ./scripts/kconfig/merge_config.sh -m .config "$here/kernel.config"
        make -s olddefconfig
    ) > "$tree/configured" 2>&1 || { cat "$tree/configured" >&2 && exit 1; }
    held
    say "building, see $cache/kernel.log"
    make -s -C "$tree" -j"$(nproc)" vmlinux > "$cache/kernel.log" 2>&1 || { tail "$cache/kernel.log" >&2 && exit 1; }
    objcopy --strip-debug "$tree/vmlinux" "$out/vmlinux"
    echo "$inputs" > "$out/inputs"
else
    say "the kernel is up to date"
fi

build_agent
root=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$root" "${tree:-}"' EXIT INT TERM
root_tree "$root"
pack "$root" "$out/initrd.img"
say "$out: $(cd "$out" && stat -c '%n %s bytes' vmlinux initrd.img | tr '\n' ',')"
