#!/bin/sh
# Checks every shell script with shellcheck, with what .shellcheckrc says.
set -eu
cd "$(dirname "$0")/.."
# shellcheck disable=SC2046 # a list of paths
exec shellcheck $(git grep -nE -e '^#!/bin/(busybox )?sh( |$)' | sed -n 's/:1:.*//p')
