#!/bin/sh
# Makes the embedded guest from Debian packages and guest-agent, in two forms:
# - OUTDIR/vmlinux and OUTDIR/initrd.img: the root is an initial RAM file system;
# - OUTDIR/vmlinux-image and OUTDIR/guest.img: the root is a read-only disk with one erofs partition.
#   The disk drivers of Debian's kernel are modules. So this kernel carries a small first root in a
#   segment of its own, and needs kernel_params = "initrdmem=128M,4M memmap=4M$128M" to find it.
#
# Usage: guest/build.sh [OUTDIR]      (default build/guest)
#
# Outputs that were made from the same inputs are not made again. Nothing is installed.
# Needs: apt-get, dpkg-deb, lz4, objcopy (binutils), cpio, mkfs.erofs, busybox-static, cargo,
# libseccomp-dev.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
out=${1:-$project/build/guest}
cache=$project/build/guest-cache
mkdir -p "$out" "$cache"
out=$(cd "$out" && pwd)

say() { echo "guest: $*" >&2; }

. "$here/debian.sh"
. "$here/tree.sh"
package=$(kernel_package cloud-amd64)
kernel=$(unpack "$(fetch "$package")")

build_agent

# Digest of everything the guest is made of. A second run with the same inputs does nothing.
forms='vmlinux initrd.img vmlinux-image guest.img'
inputs=$(cat "$here"/*.sh "$here"/first-root "$here"/modules /bin/busybox "$agent" | sha256sum | cut -c1-32)-$(basename "$kernel")
# shellcheck disable=SC2086
if [ "$(cat "$out/inputs" 2>/dev/null)" = "$inputs" ] && (cd "$out" && ls $forms >/dev/null 2>&1); then
    say "$out is up to date"
    exit 0
fi

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

say "extracting the kernel"
"$here/extract-vmlinux.sh" "$kernel"/boot/vmlinuz-* > "$work/vmlinux"

say "packing the initial RAM file system"
root=$work/root
root_tree "$root"
"$here/collect-modules.sh" "$kernel" "$here/modules" "$root/lib/modules"
pack "$root" "$work/initrd.img"

say "packing the disk image"
mkdir -p "$root/sbin"
mv "$root/init" "$root/sbin/init"
find "$root" -exec touch -h -d @0 {} +
mkfs.erofs --quiet -T0 -U 00000000-0000-0000-0000-000000000000 --all-root "$work/root.erofs" "$root"
"$here/disk-image.sh" "$work/root.erofs" > "$work/guest.img"

# At 128 MiB: behind the kernel, and within the memory of every guest that can run containers.
first=$work/first
mkdir -p "$first/bin" "$first/dev" "$first/modules"
install -m 0755 "$here/first-root" "$first/init"
install -m 0755 /bin/busybox "$first/bin/busybox"
printf '%s\n' virtio_pci virtio_blk erofs overlay > "$work/wanted"
"$here/collect-modules.sh" "$kernel" "$work/wanted" "$first/modules"
pack "$first" "$work/first.cpio"
[ "$(stat -c %s "$work/first.cpio")" -le $((4 << 20)) ] || { say "the first root is larger than 4 MiB" && exit 1; }
truncate -s 4M "$work/first.cpio"
"$here/add-segment.sh" "$work/vmlinux" "$work/first.cpio" $((128 << 20)) > "$work/vmlinux-image"

rm -f "$out/inputs"
for form in $forms; do
    chmod 0644 "$work/$form"
    mv "$work/$form" "$out/$form"
done
echo "$inputs" > "$out/inputs"
# shellcheck disable=SC2086
say "$out: $(cd "$out" && stat -c '%n %s bytes' $forms | tr '\n' ',')"
