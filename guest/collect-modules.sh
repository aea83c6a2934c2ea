#!/bin/sh
# Copies kernel modules and their dependencies, and lists them in loading order in load.order.
#
# Usage: guest/collect-modules.sh KERNEL_TREE WANTED DESTINATION
#
# WANTED has one module name per line (# begins a comment). The order comes from the modules' own
# .modinfo (depends=), because Debian's package has no modules.dep before it is installed.
set -eu

tree=$1 wanted=$2 destination=$3
order=$destination/load.order
: > "$order"
index=$(find "$tree/lib/modules" -name '*.ko' | LC_ALL=C sort)

# File names use - and _ alike; module names only _.
path_of() {
    echo "$index" | grep -E "/$(echo "$1" | sed 's/_/[-_]/g')\.ko\$" | head -n 1
}

add() {
    grep -qx "$1.ko" "$order" && return 0
    path=$(path_of "$1")
    [ -n "$path" ] || { echo "collect-modules: no module $1 in $tree" >&2; exit 1; }
    for needed in $(objcopy -O binary --only-section=.modinfo "$path" /dev/stdout | tr '\0' '\n' |
        sed -n 's/^depends=//p' | tr ',-' ' _'); do
        (add "$needed") || exit 1
    done
    cp "$path" "$destination/$1.ko"
    chmod 0644 "$destination/$1.ko"
    echo "$1.ko" >> "$order"
}

sed 's/#.*//' "$wanted" | while read -r name; do
    [ -z "$name" ] || add "$name"
done
