#!/bin/sh
# Makes the embedded guest: OUTDIR/vmlinux and OUTDIR/initrd.img, from Debian packages and guest-agent.
#
# Usage: guest/build.sh [OUTDIR]      (default build/guest)
#
# What is already there and was made from the same inputs is kept. Needs: apt-get, dpkg-deb, lz4,
# objcopy (binutils), cpio, cargo, libseccomp-dev. Nothing is installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
out=${1:-$project/build/guest}
cache=$project/build/guest-cache
target=x86_64-unknown-linux-gnu
mkdir -p "$out" "$cache"
out=$(cd "$out" && pwd)

say() { echo "guest: $*" >&2; }

. "$here/debian.sh"
package=$(kernel_package cloud-amd64)
kernel=$(unpack "$(fetch "$package")")

say "building guest-agent"
LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=/usr/lib/x86_64-linux-gnu \
RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --quiet --release --locked --manifest-path "$project/Cargo.toml" \
    --target $target --target-dir "$cache/target" -p guest-agent >&2
agent=$cache/target/$target/release/guest-agent

# What the image is made of; a second run with the same inputs has nothing to do.
inputs=$(cat "$here"/*.sh "$here"/modules "$agent" | sha256sum | cut -c1-32)-$(basename "$kernel")
if [ "$(cat "$out/inputs" 2>/dev/null)" = "$inputs" ] && [ -f "$out/vmlinux" ] && [ -f "$out/initrd.img" ]; then
    say "$out is up to date"
    exit 0
fi

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

say "extracting the kernel"
"$here/extract-vmlinux.sh" "$kernel"/boot/vmlinuz-* > "$work/vmlinux"

say "packing the initial RAM file system"
root=$work/root
mkdir -p "$root/lib/modules" "$root/etc" "$root/dev"
install -m 0755 "$agent" "$root/init"
"$here/collect-modules.sh" "$kernel" "$here/modules" "$root/lib/modules"
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
mknod -m 0600 "$root/dev/console" c 5 1
# The same inputs give the same bytes: sorted names, one time stamp, no inode numbers.
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort |
    cpio --quiet --create --format=newc --owner=0:0 --reproducible) > "$work/initrd.img"

chmod 0644 "$work/vmlinux" "$work/initrd.img"
rm -f "$out/inputs"
mv "$work/vmlinux" "$out/vmlinux"
mv "$work/initrd.img" "$out/initrd.img"
echo "$inputs" > "$out/inputs"
say "$out: vmlinux $(stat -c %s "$out/vmlinux") bytes, initrd.img $(stat -c %s "$out/initrd.img") bytes"
