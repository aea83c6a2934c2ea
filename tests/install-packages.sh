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
install() { apt-get install --yes --quiet --no-install-recommends "$@"; }

# shellcheck disable=SC2086 # a list of words
if ! { apt-get update --quiet && install --simulate $missing; } >/dev/null 2>&1; then
    # A newer qemu-utils from backports cannot live beside the release's own QEMU.
    . /etc/os-release
    missing="--allow-downgrades qemu-utils/$VERSION_CODENAME $missing"
fi
# containerd's service is of no use here: the playground starts its own.
# shellcheck disable=SC2086
install $missing
