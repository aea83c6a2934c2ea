//! The mount options that concern the agent. libcontainer reads the others.

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

/// The changes of propagation that the options ask for, in their order, as flags for mount(2).
pub fn propagations(mount: &Mount) -> impl Iterator<Item = MsFlags> {
    mount.options.iter().filter_map(|one| propagation(one))
}

fn has(mount: &Mount, options: &[&str]) -> bool {
    let mut given = mount.options.iter();
    given.any(|option| options.contains(&option.as_str()))
}

/// `unbindable` becomes private: libcontainer could not clone an unbindable mount, and all that a
/// container notices is that it can bind the mount elsewhere.
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

/// Translates `rootfsPropagation` for libcontainer, which knows the words without `r` only and
/// applies them recursively.
///
/// # Errors
///
/// When the word is unknown.
pub fn root_propagation(wanted: &str) -> Result<&str> {
    let (word, _) = recursive(wanted);
    match word {
        "" | "private" | "slave" | "shared" | "unbindable" => Ok(word),
        _ => Err(Error::Invalid(format!(
            "rootfsPropagation has the unknown value {wanted:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_propagation_are_in_their_order() {
        let options = ["rbind", "ro", "rslave", "private"].map(str::to_owned);
        let mount = Mount {
            options: options.to_vec(),
            ..Default::default()
        };
        let changes: Vec<_> = propagations(&mount).collect();
        let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        assert_eq!(changes, [slave, MsFlags::MS_PRIVATE]);
    }

    #[test]
    fn the_propagation_of_a_root_is_translated() {
        for (given, word) in [
            ("rshared", "shared"),
            ("rslave", "slave"),
            ("private", "private"),
            ("", ""),
        ] {
            assert_eq!(root_propagation(given).unwrap(), word);
        }
        let error = root_propagation("rslaved").unwrap_err().chain();
        assert!(error.contains("rslaved"), "{error}");
    }
}
