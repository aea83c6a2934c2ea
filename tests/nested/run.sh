#!/bin/sh
# Runs a program of this work tree in the nested machine, which has working KVM, vhost-vsock and
# cgroup v2, whatever this machine has. Exits with the program's exit code.
#
# Usage: tests/nested/run.sh PROGRAM [ARGUMENT...]
#
# In the machine, these have the same paths as here: the program, the built binaries (IMPRINT_BINARIES,
# or target/release), the guest (IMPRINT_GUEST, or build/guest) and the images. The program also gets all
# variables whose names begin with IMPRINT_. IMPRINT_TEST_CLH, or a cloud-hypervisor on PATH, is copied
# into the machine. The machine is ended after IMPRINT_NESTED_DEADLINE seconds (1200). If the program
# fails, files in its /tmp and /run are kept in build/nested/left.tar, and the kernel's messages in
# build/nested/console.
#
# cargo can use it as a runner: CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/tests/nested/run.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$(dirname "$here")")
parts=$project/build/nested
program=$(realpath "$1")
shift
binaries=$(realpath "${IMPRINT_BINARIES:-$project/target/release}")
guest=$(realpath "${IMPRINT_GUEST:-$project/build/guest}")
clh=${IMPRINT_TEST_CLH:-$(command -v cloud-hypervisor || true)}

"$here/build.sh" "$parts"
work=$(mktemp -d "$parts/run.XXXXXX")
machine=
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# place FILE: copies it to the same path in the machine.
disk=$work/disk
place() {
    mkdir -p "$disk$(dirname "$1")"
    cp "$1" "$disk$1"
}
place "$program"
for name in containerd-shim-imprint-v2 imprint; do
    if [ -e "$binaries/$name" ]; then place "$binaries/$name"; fi
done
for file in "$guest"/* "$project"/build/images/*; do
    if [ -f "$file" ]; then place "$file"; fi
done
if [ -n "$clh" ]; then
    mkdir -p "$disk/usr/bin"
    cp "$clh" "$disk/usr/bin/cloud-hypervisor"
fi

quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
mkdir -p "$disk/nested" "$disk$PWD"
{
    env | sed -n 's/^\(IMPRINT_[A-Z0-9_]*\)=.*/\1/p' | while read -r name; do
        eval "value=\$$name"
        # shellcheck disable=SC2154 # set by eval
        echo "export $name=$(quoted "$value")"
    done
    echo "export IMPRINT_BINARIES=$(quoted "$binaries") IMPRINT_GUEST=$(quoted "$guest") IMPRINT_TEST_GUEST=$(quoted "$guest")"
    if [ -n "$clh" ]; then echo 'export IMPRINT_TEST_CLH=/usr/bin/cloud-hypervisor'; fi
    echo "cd $(quoted "$PWD")"
    printf 'exec %s' "$(quoted "$program")"
    for argument in "$@"; do printf ' %s' "$(quoted "$argument")"; done
    echo
} > "$disk/nested/program"
mkfs.erofs --quiet "$work/program.erofs" "$disk"
rm -rf "$disk"

mkfifo "$work/output"
# Features of that processor that TCG lacks are turned off, so that QEMU does not warn about them.
cpu=EPYC,+svm,-sha-ni,-fxsr-opt,-misalignsse,-3dnowprefetch,-osvw,-topoext,-nrip-save,-xsavec,-rdseed
# On a busy machine the kernel's check of its timer fails and it panics.
parameters='console=ttyS0 panic=-1 quiet no_timer_check'
port() { printf -- '-chardev %s,id=%s -device virtserialport,bus=ports.0,nr=%s,chardev=%s' "$3" "$2" "$1" "$2"; }
# shellcheck disable=SC2046 # words
timeout --foreground "${IMPRINT_NESTED_DEADLINE:-1200}" qemu-system-x86_64 \
    -machine q35 -accel tcg,thread=multi -cpu "$cpu" -smp 2 -m 4096 \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel "$parts/vmlinux" -initrd "$parts/initrd.img" -append "$parameters" \
    -serial "file:$work/console" -device virtio-rng-pci \
    -drive "if=none,id=system,format=raw,readonly=on,file=$parts/system.erofs" -device virtio-blk-pci,drive=system \
    -drive "if=none,id=program,format=raw,readonly=on,file=$work/program.erofs" -device virtio-blk-pci,drive=program \
    -device virtio-serial-pci,id=ports \
    $(port 1 output "file,path=$work/output") $(port 2 status "file,path=$work/status") $(port 3 left "file,path=$work/left") </dev/null 3>"$work/output" &
machine=$!
# Ends when the last writer closes it.
cat "$work/output"
wait "$machine" && ended=0 || ended=$?

status=$(cat "$work/status" 2>/dev/null || true)
if [ "$status" = 0 ]; then exit 0; fi
mv "$work/console" "$parts/console"
if [ -z "$status" ]; then
    tail -n 20 "$parts/console" >&2
    if [ "$ended" = 124 ]; then
        echo "The nested machine hung, or its program took more than ${IMPRINT_NESTED_DEADLINE:-1200} s" >&2
    else
        echo "The nested machine ended before its program did (QEMU ended with $ended)" >&2
    fi
    exit 1
fi
mv "$work/left" "$parts/left.tar"
exit "$status"
