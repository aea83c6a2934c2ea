#!/bin/sh
# Installs those of the named Debian packages that are missing. Does nothing if none is.
set -eu

missing=
for package in "$@"; do
    case $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "These packages are missing, and only root can install them:$missing" >&2
    exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet

# QEMU's packages share files, so all of them must have the same version. Some images come with one of
# them from backports.
case "$missing " in
*' qemu-system-x86 '*)
    have=$(dpkg-query --show --showformat='${Version}' qemu-utils 2>/dev/null || true)
    want=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: *//p')
    if [ -n "$have" ] && [ "$have" != "$want" ]; then
        missing="--allow-downgrades qemu-utils=$want $missing"
    fi
    ;;
esac
# shellcheck disable=SC2086 # a list of words
apt-get install --yes --quiet --no-install-recommends $missing
