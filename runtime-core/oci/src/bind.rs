//! What a bind mount is, and what of its options stays in the guest.

use oci_spec::runtime as host;

/// Whether a mount shows what is elsewhere already.
pub(super) fn is_bind(mount: &host::Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    mount.typ().as_deref() == Some("bind") || options.iter().any(|o| o == "bind" || o == "rbind")
}

/// How mounts and unmounts pass between the container and what is around it.
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

/// What is left of a mount's options for a bind of what the guest has mounted.
pub(super) fn bound(options: &[String]) -> Vec<String> {
    let kept = |option: &&String| is_read_only(option) || PROPAGATION.contains(&option.as_str());
    let kept = options.iter().filter(kept).cloned();
    ["rbind".to_owned()].into_iter().chain(kept).collect()
}
