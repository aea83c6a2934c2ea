# shellcheck shell=sh
# Reads and writes little-endian numbers in files. Sourced by other scripts.

# number FILE OFFSET LENGTH: the number of LENGTH bytes at OFFSET.
number() { od -An -t "u$3" -j "$(($2))" -N "$3" "$1" | tr -d ' '; }

# bytes WIDTH NUMBER...: writes each number in WIDTH bytes. Its variables are width, value and left.
bytes() {
    width=$1
    shift
    for value in "$@"; do
        value=$((value)) left=$width
        while [ "$left" -gt 0 ]; do
            # shellcheck disable=SC2059 # an escape is made here
            printf "\\$(printf %03o $((value & 255)))"
            value=$((value >> 8)) left=$((left - 1))
        done
    done
}
