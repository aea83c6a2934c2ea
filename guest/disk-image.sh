#!/bin/sh
# Prints a raw disk with one partition, as stock guest images are.
#
# Usage: guest/disk-image.sh FILESYSTEM > DISK
#
# A Master Boot Record: the table at 446, the partition's type (Linux) at its byte 4, its first sector at
# 8, its length in sectors at 12, the signature at 510.
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
