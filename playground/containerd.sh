#!/bin/sh
# Unpacks a containerd of another release beside the machine's own, from packages of another Debian
# suite. Nothing is installed.
#
# Usage: playground/containerd.sh RELEASE DIRECTORY      (RELEASE is 1.7 or 2.1)
#
# The packages come from the mirror that apt uses on this machine. Exits with 0 once DIRECTORY/bin has
# them, at once if it already has.
set -eu

release=$1 directory=$(realpath -m "$2")
case $release in
1.7) suite=trixie ;;
2.1) suite=sid ;;
*) echo "No Debian suite is known to have containerd $release; 1.7 and 2.1 are" >&2 && exit 2 ;;
esac
# containerd 2.1's erofs snapshotter needs a newer mkfs.erofs than bookworm's 1.5; this suite has 1.8.
tools=trixie

[ ! -e "$directory/bin/containerd" ] || exit 0

mkdir -p "$(dirname "$directory")"
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

. /etc/os-release
# shellcheck disable=SC2016 # apt replaces it
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' \
    'Label: Debian' "Codename: ${VERSION_CODENAME:-none}" | head -n 1)
[ -n "$mirror" ] || { echo "apt has no lists of Debian $VERSION_CODENAME: apt-get update" >&2 && exit 1; }

# apt_of SUITE COMMAND...: runs apt with the lists of one suite only, as if nothing were installed.
apt_of() {
    of=$1 && shift
    "$@" -o Dir::Etc::sourcelist="$work/$of.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State="$work/$of" -o Dir::State::status="$work/$of/status" -o Dir::Cache="$work/$of" \
        -o APT::Sandbox::User=root -o APT::Get::AllowUnauthenticated=false -o Acquire::Retries=3 \
        -o Acquire::Languages=none -qq
}

# lists_of SUITE: fetches a suite's lists once.
lists_of() {
    [ ! -e "$work/$1" ] || return 0
    mkdir -p "$work/$1/lists/partial" "$work/$1/archives/partial"
    : >"$work/$1/status"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$1" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$work/$1.sources"
    apt_of "$1" apt-get update
}

unpack() { for package in "$1"/*.deb; do dpkg-deb --extract "$package" "$2"; done; }

lists_of "$suite"
(cd "$work/$suite" && apt_of "$suite" apt-get download containerd)
unpack "$work/$suite" "$work/root"
rm "$work/$suite"/*.deb
mkdir "$work/bin"
mv "$work/root/usr/bin"/* "$work/bin"

got=$("$work/bin/containerd" --version | awk '{ print $3 }')
case $got in
"$release".*) ;;
*) echo "Debian $suite has containerd $got, no longer $release" >&2 && exit 1 ;;
esac

# mkfs.erofs with all of its libraries, including the C library, run by its own loader.
if [ "$release" != 1.7 ]; then
    lists_of "$tools"
    apt_of "$tools" apt-get install --yes --download-only --no-install-recommends erofs-utils
    unpack "$work/$tools/archives" "$work/erofs"
    cat >"$work/bin/mkfs.erofs" <<-'END'
	#!/bin/sh
	here=$(dirname "$(readlink -f "$0")")/../erofs/usr
	exec "$here/lib64/ld-linux-x86-64.so.2" --library-path "$here/lib/x86_64-linux-gnu" "$here/bin/mkfs.erofs" "$@"
	END
    chmod 755 "$work/bin/mkfs.erofs"
    "$work/bin/mkfs.erofs" --version >/dev/null
fi

mkdir "$work/whole"
mv "$work/bin" "$work/whole"
[ ! -e "$work/erofs" ] || mv "$work/erofs" "$work/whole"
chmod 755 "$work/whole"
mv -T "$work/whole" "$directory"
