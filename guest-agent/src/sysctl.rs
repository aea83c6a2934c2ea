//! Kernel parameters that a pod asks for. A guest's kernel is used by one pod only.

use std::{collections::HashMap, fs, path::Path};

use crate::error::{Doing, Error, Result};

/// Where the kernel shows its parameters.
pub const ROOT: &str = "/proc/sys";

/// Sets kernel parameters, named as for sysctl(8), in the order of their names. `root` is [`ROOT`]
/// outside of tests.
///
/// By that order, a parameter for all network interfaces is set before one for a single interface.
///
/// # Errors
///
/// When a parameter does not exist or refuses its value. Parameters before it stay set.
pub fn apply(root: &Path, parameters: &HashMap<String, String>) -> Result<()> {
    let mut parameters: Vec<_> = parameters.iter().collect();
    parameters.sort();
    for (name, value) in parameters {
        let path = root.join(relative_path(name)?);
        fs::write(&path, value).on("set the kernel parameter", &path)?;
    }
    Ok(())
}

/// The path of a parameter below `/proc/sys`.
///
/// A name has dots, and a slash stands for a dot within a part (`net.ipv4.conf.eth0/100.mtu`); or
/// it has slashes only, like the path.
fn relative_path(name: &str) -> Result<String> {
    let first_separator = name.find(['.', '/']).map(|at| &name[at..=at]);
    let path = match first_separator {
        Some(".") => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let plain = path
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != "..");
    if plain {
        Ok(path)
    } else {
        Err(Error::Invalid(format!(
            "{name:?} is not a kernel parameter"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_in_the_order_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("net")).unwrap();
        // Two names of one parameter: its value shows which was set last.
        for _ in 0..50 {
            let given = [("net.a", "first"), ("net/a", "last")];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            apply(root.path(), &HashMap::from(given)).unwrap();
            let set = fs::read_to_string(root.path().join("net/a")).unwrap();
            assert_eq!(set, "last");
        }
    }

    #[test]
    fn names_become_paths() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.mtu", "net/ipv4/conf/eth0.100/mtu"),
        ] {
            assert_eq!(relative_path(name).unwrap(), path);
        }
        for wrong in [
            "",
            "..",
            "net..ipv4",
            "/etc/passwd",
            "a/../../etc",
            "a.//.b",
        ] {
            assert!(relative_path(wrong).is_err(), "{wrong}");
        }
    }
}
