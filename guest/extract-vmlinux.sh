#!/bin/sh
# Prints the ELF kernel that an x86 bzImage carries as an LZ4 or XZ stream.
#
# Usage: guest/extract-vmlinux.sh VMLINUZ > vmlinux
#
# Offsets of the Linux x86 boot protocol: setup_sects at 0x1f1, payload_offset at 0x248,
# payload_length at 0x24c. The last four bytes of the payload are its unpacked length.
set -eu

image=$1
. "$(dirname "$0")/bytes.sh"

setup=$(number "$image" 0x1f1 1)
[ "$setup" -ne 0 ] || setup=4
offset=$(number "$image" 0x248 4)
length=$(number "$image" 0x24c 4)
start=$(((setup + 1) * 512 + offset))

payload() { tail -c "+$((start + 1))" "$image" | head -c "$((length - 4))"; }

magic=$(od -An -t x1 -j "$start" -N 4 "$image" | tr -d ' ')
case $magic in
02214c18) payload | lz4 -dc - ;;
fd377a58) payload | xz -dc ;;
*) echo "extract-vmlinux: $image is compressed with neither LZ4 nor XZ (magic $magic)" >&2 && exit 1 ;;
esac
