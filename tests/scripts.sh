#!/bin/sh
# Checks every shell script with shellcheck, with what .shellcheckrc says.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC2046 # a list of paths
exec shellcheck $(git ls-files | while read -r file; do head -n 1 "$file" | grep -qE '^#!/bin/(busybox )?sh( |$)' && echo "$file"; done)
