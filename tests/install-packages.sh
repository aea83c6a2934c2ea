#!/bin/sh
# Installs the Debian packages named that are not installed yet. With none missing it is at once done.
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

# The parts of QEMU share files from version to version: one from backports, as it comes with some
# images, must be of the same version as the others.
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
