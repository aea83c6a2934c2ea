#!/bin/sh
# Prints a raw disk with one partition, as stock guest images have it.
#
# Usage: guest/disk-image.sh FILESYSTEM > DISK
#
# The disk has a Master Boot Record: the partition table is at offset 446. In the partition's entry the
# type (Linux) is at byte 4, the first sector at 8 and the length in sectors at 12. The signature is at 510.
set -eu

. "$(dirname "$0")/bytes.sh"
first=2048
sectors=$((($(stat -c %s "$1") + 511) / 512))
head -c 446 /dev/zero
bytes 4 0xfffffe00 0xfffffe83
bytes 4 $first $sectors
head -c 48 /dev/zero
bytes 2 0xaa55
head -c $(((first - 1) * 512)) /dev/zero
cat "$1"
head -c $((sectors * 512 - $(stat -c %s "$1"))) /dev/zero
