#!/bin/sh
# Prints an ELF kernel with one more segment. Every loader puts it at ADDRESS in the guest's memory.
#
# Usage: guest/add-segment.sh VMLINUX FILE ADDRESS > VMLINUX-WITH-FILE
#
# Offsets in an ELF-64 file: e_phoff at 32, e_phentsize at 54, e_phnum at 56. The new program header goes
# behind the others, where the file has only zeroes.
set -eu

kernel=$1 file=$2 address=$3
. "$(dirname "$0")/bytes.sh"

table=$(number "$kernel" 32 8)
entry=$(number "$kernel" 54 2)
count=$(number "$kernel" 56 2)
new=$((table + entry * count))
room=$(tail -c "+$((new + 1))" "$kernel" | head -c "$entry" | tr -d '\000' | wc -c)
if [ "$entry" != 56 ] || [ "$room" != 0 ]; then
    echo "add-segment: $kernel has no room for a program header" >&2
    exit 1
fi

length=$(stat -c %s "$kernel")
offset=$(((length + 4095) / 4096 * 4096))
size=$(stat -c %s "$file")
head -c 56 "$kernel"
bytes 2 $((count + 1))
tail -c +59 "$kernel" | head -c $((new - 58))
# PT_LOAD, readable; its virtual address is not used.
bytes 4 1 4
bytes 8 "$offset" 0 "$address" "$size" "$size" 4096
tail -c "+$((new + 57))" "$kernel"
head -c $((offset - length)) /dev/zero
cat "$file"
