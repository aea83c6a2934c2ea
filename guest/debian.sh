# shellcheck shell=sh disable=SC2154
# Downloads and unpacks Debian packages without installing them. Sourced by scripts that define
# $cache (a directory) and say().

# kernel_package FLAVOUR: prints the kernel package that the metapackage depends on; its name contains
# its version. Runs apt-get update first if there are no package lists, as in a fresh container image.
kernel_package() {
    named_kernel "$1" || { apt-get update -qq && named_kernel "$1"; } ||
        { say "no Debian 12 kernel (linux-image-$1 6.1) in the package lists"; return 1; }
}

named_kernel() {
    apt-cache depends --important "linux-image-$1" 2>/dev/null |
        sed -n 's/^ *Depends: *\(linux-image-6\.1\..*\)$/\1/p' | head -n 1 | grep .
}

# fetch PACKAGE: downloads it and prints the path of the .deb.
fetch() {
    version=$(apt-cache policy "$1" | sed -n 's/^ *Candidate: *//p')
    deb=$cache/${1}_$(echo "$version" | sed 's/:/%3a/g')_amd64.deb
    if [ ! -f "$deb" ]; then
        say "downloading $1 $version"
        rm -rf "$cache/download" && mkdir -p "$cache/download"
        (cd "$cache/download" && apt-get -o APT::Sandbox::User=root download -qq "$1=$version" >&2)
        mv "$cache/download"/*.deb "$deb"
    fi
    echo "$deb"
}

# unpack DEB: unpacks it and prints the directory with its files.
unpack() {
    tree=${1%.deb}
    if [ ! -d "$tree" ]; then
        rm -rf "$tree.part" && dpkg-deb -x "$1" "$tree.part" && mv "$tree.part" "$tree"
    fi
    echo "$tree"
}
