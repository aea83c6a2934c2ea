//! What a mount's options say to us; the runtime reads the others.

use agent_client::oci::Mount;
use nix::mount::MsFlags;

use crate::error::{Error, Result};

pub fn is_bind(mount: &Mount) -> bool {
    mount.type_ == "bind" || has(mount, &["bind", "rbind"])
}

pub fn is_recursive(mount: &Mount) -> bool {
    has(mount, &["rbind"])
}

pub fn is_read_only(mount: &Mount) -> bool {
    has(mount, &["ro", "rro"])
}

pub fn is_propagation(option: &str) -> bool {
    propagation(option).is_some()
}

/// The changes of propagation that the options ask for, in their order.
pub fn propagations(mount: &Mount) -> impl Iterator<Item = MsFlags> {
    mount.options.iter().filter_map(|one| propagation(one))
}

fn has(mount: &Mount, options: &[&str]) -> bool {
    let mut given = mount.options.iter();
    given.any(|option| options.contains(&option.as_str()))
}

/// An unbindable mount could not be cloned by the runtime; in a container it differs from a private
/// one only in that the container cannot bind it elsewhere.
fn propagation(option: &str) -> Option<MsFlags> {
    let (option, recursive) = recursive(option);
    let flag = match option {
        "private" | "unbindable" => MsFlags::MS_PRIVATE,
        "slave" => MsFlags::MS_SLAVE,
        "shared" => MsFlags::MS_SHARED,
        _ => return None,
    };
    Some(flag | recursive)
}

fn recursive(option: &str) -> (&str, MsFlags) {
    match option.strip_prefix('r') {
        Some(rest) => (rest, MsFlags::MS_REC),
        None => (option, MsFlags::empty()),
    }
}

/// The runtime's word for a root's propagation: it knows those that are not recursive, and makes all
/// mounts follow each of them.
///
/// # Errors
///
/// When the specification's word is none.
pub fn root_propagation(wanted: &str) -> Result<&str> {
    let (word, _) = recursive(wanted);
    match word {
        "" | "private" | "slave" | "shared" | "unbindable" => Ok(word),
        _ => Err(Error::Invalid(format!(
            "{wanted:?} is no propagation of a root (rootfsPropagation)"
        ))),
    }
}
