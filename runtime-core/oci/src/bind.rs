//! Bind mounts, and those of their options that the guest needs.

use oci_spec::runtime as host;

/// Whether a mount is a bind mount.
pub(super) fn is_bind(mount: &host::Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    mount.typ().as_deref() == Some("bind") || options.iter().any(|o| o == "bind" || o == "rbind")
}

/// Mount options for propagation between the container and its surroundings.
const PROPAGATION: [&str; 8] = [
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
];

pub(super) fn is_read_only(option: &str) -> bool {
    option == "ro" || option == "rro"
}

/// A mount's options, reduced to those for a bind of a directory that the guest has mounted.
pub(super) fn bind_options(options: &[String]) -> Vec<String> {
    let kept = |option: &&String| is_read_only(option) || PROPAGATION.contains(&option.as_str());
    let kept = options.iter().filter(kept).cloned();
    ["rbind".to_owned()].into_iter().chain(kept).collect()
}
