# shellcheck shell=sh disable=SC2154
# Makes the guest's root, for any kernel. Sourced by scripts that define $here (this directory),
# $project, $cache and say().

# build_agent: builds the agent as one static binary and sets $agent to its path.
build_agent() {
    target=x86_64-unknown-linux-gnu
    say "building guest-agent"
    LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=/usr/lib/x86_64-linux-gnu \
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --quiet --release --locked --manifest-path "$project/Cargo.toml" \
        --target $target --target-dir "$cache/target" -p guest-agent >&2
    agent=$cache/target/$target/release/guest-agent
}

# root_tree DIRECTORY: makes the root with the agent and without kernel modules.
root_tree() {
    mkdir -p "$1/lib/modules" "$1/etc" "$1/dev"
    install -m 0755 "$agent" "$1/init"
    : > "$1/lib/modules/load.order"
    printf 'root:x:0:0:root:/root:/bin/sh\n' > "$1/etc/passwd"
    printf 'root:x:0:\n' > "$1/etc/group"
}

# pack TREE CPIO: packs a tree reproducibly: sorted names, one time stamp, no inode numbers.
pack() {
    mknod -m 0600 "$1/dev/console" c 5 1
    find "$1" -exec touch -h -d @0 {} +
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort |
        cpio --quiet --create --format=newc --owner=0:0 --reproducible) > "$2"
}
