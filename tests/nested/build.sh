#!/bin/sh
# Makes the nested machine's parts: OUTDIR/vmlinux, OUTDIR/initrd.img and OUTDIR/system.erofs.
#
# Usage: tests/nested/build.sh [OUTDIR]      (default build/nested)
#
# All of it is Debian's: the generic kernel, unpacked but not installed, and the files of the packages
# below and their dependencies, as installed here. Outputs that were made from the same packages are not
# made again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$(dirname "$here")")
out=${1:-$project/build/nested}
cache=$project/build/guest-cache
mkdir -p "$out" "$cache"
out=$(cd "$out" && pwd)

say() { echo "nested machine: $*" >&2; }
. "$project/guest/debian.sh"

packages='busybox-static containerd containernetworking-plugins erofs-utils iproute2 iptables kmod mount
qemu-system-x86 runc skopeo umoci'

# The parts of the module tree that a node with containers and virtual machines needs.
modules='arch/x86/kvm virt lib crypto fs/9p fs/erofs fs/ext4 fs/fuse fs/jbd2 fs/mbcache.ko fs/netfs
fs/nls fs/overlayfs fs/squashfs drivers/block drivers/char drivers/crypto/ccp drivers/net/tap.ko drivers/net/tun.ko
drivers/net/veth.ko drivers/net/virtio_net.ko drivers/net/net_failover.ko drivers/vhost drivers/virtio
net/802 net/9p net/8021q net/bridge net/core net/ipv4 net/ipv6 net/llc net/netfilter net/sched
net/vmw_vsock'

kernel=$(unpack "$(fetch "$(kernel_package amd64)")")
essential=$(dpkg-query --show --showformat='${Essential} ${Package}\n' | sed -n 's/^yes //p')
# shellcheck disable=SC2086 # lists of words
closure=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts \
    --no-breaks --no-replaces --no-enhances $packages $essential | grep '^[a-z]' | LC_ALL=C sort -u)
# shellcheck disable=SC2086
versions=$(dpkg-query --show --showformat='${Package} ${Version}\n' $closure 2>/dev/null || true)
digest() { cat - "$here/build.sh" "$project"/guest/*.sh | sha256sum | cut -c1-32; }
of_system=$(echo "$versions" | digest)-$(basename "$kernel")
of_initrd=$(digest < "$here/init")-$(basename "$kernel")
# current PART INPUTS: whether the part exists and was made from these inputs.
current() { [ -f "$out/$1" ] && [ "$(cat "$out/$1.inputs" 2>/dev/null)" = "$2" ]; }

work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

make_initrd() {
    say "extracting the kernel"
    "$project/guest/extract-vmlinux.sh" "$kernel"/boot/vmlinuz-* > "$out/vmlinux"

    say "packing the first root"
    first=$work/first
    mkdir -p "$first/bin" "$first/modules" "$first/dev"
    cp /bin/busybox "$first/bin/"
    install -m 0755 "$here/init" "$first/init"
    printf '%s\n' virtio_pci virtio_blk virtio_console virtio_rng crc32c_generic erofs overlay > "$work/wanted"
    "$project/guest/collect-modules.sh" "$kernel" "$work/wanted" "$first/modules"
    mknod -m 0600 "$first/dev/console" c 5 1
    (cd "$first" && find . -mindepth 1 | cpio --quiet --create --format=newc --owner=0:0) > "$out/initrd.img"
    echo "$of_initrd" > "$out/initrd.img.inputs"
}

make_system() {
    say "packing the system"
    system=$work/system
    mkdir -p "$system/usr/bin" "$system/usr/sbin" "$system/usr/lib" "$system/usr/lib64"
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$system/$name"; done
    (cd "$system" && mkdir -p dev proc sys run tmp root etc var/lib var/tmp)
    # dpkg's lists name some files through links such as /bin.
    # shellcheck disable=SC2046
    dpkg-query --listfiles $(echo "$versions" | cut -d' ' -f1) | LC_ALL=C sort -u |
        grep -Ev '^/usr/share/(doc|man|info|locale|iso-codes|zoneinfo|lintian)/' |
        while read -r file; do if [ -h "$file" ] || [ -f "$file" ]; then echo "${file#/}"; fi; done |
        grep -Ev '^(bin|sbin|lib|lib64)$' > "$work/files"
    (cd / && { find usr/bin usr/sbin -lname '/etc/alternatives/*' && cat "$work/files" && printf 'etc/%s\n' \
        alternatives ld.so.cache passwd group shadow protocols; } |
        tar --create --ignore-failed-read --files-from=-) 2>/dev/null |
        tar --extract --keep-directory-symlink --directory="$system"
    tree=$(cd "$kernel" && echo lib/modules/*)
    mkdir -p "$system/usr/$tree/kernel"
    # shellcheck disable=SC2086
    (cd "$kernel/$tree/kernel" && tar --create $modules) | tar --extract --directory="$system/usr/$tree/kernel"
    cp "$kernel/$tree"/modules.* "$system/usr/$tree/" 2>/dev/null || true
    depmod --basedir "$system" "$(basename "$tree")"
    mkfs.erofs --quiet "$out/system.erofs" "$system"
    echo "$of_system" > "$out/system.erofs.inputs"
}

if ! current initrd.img "$of_initrd"; then make_initrd; fi
if ! current system.erofs "$of_system"; then make_system; fi
