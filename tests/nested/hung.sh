#!/bin/sh
# Reads what a program of tests printed, and names the tests that failed because a guest hung while it booted.
# With --forgive: prints the program's result line without these failures.
#
# Usage: tests/nested/hung.sh [--forgive] < OUTPUT
set -eu

awk -v forgive="${1:-}" '
/^test .* \.\.\. FAILED/ { name = $2; next }
/^(test |failed:|==)/ { name = "" }
name != "" && /agent did not answer/ {
    hung++
    if (forgive == "") print name
    name = ""
}
/^test result: / && forgive != "" {
    for (i = 2; i <= NF; i++) if ($i ~ /^failed/) $(i - 1) -= hung
    print
}'
