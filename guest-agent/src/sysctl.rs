//! Kernel parameters that a pod asks for. The guest's kernel is the pod's own.

use std::{collections::HashMap, fs, path::Path};

use crate::error::{Doing, Error, Result};

/// Where the kernel shows its parameters.
pub const ROOT: &str = "/proc/sys";

/// Sets `parameters`, named as sysctl(8) names them, below `root`, in the order of their names: what is set
/// for all interfaces, or for those to come, comes before what is set for one.
///
/// # Errors
///
/// When one does not exist or does not take its value; earlier ones stay set.
pub fn apply(root: &Path, parameters: &HashMap<String, String>) -> Result<()> {
    let mut parameters: Vec<_> = parameters.iter().collect();
    parameters.sort();
    for (name, value) in parameters {
        let path = root.join(relative_path(name)?);
        fs::write(&path, value).on("set the kernel parameter", &path)?;
    }
    Ok(())
}

/// A name with dots, in which a slash stands for a dot in a part (`net.ipv4.conf.eth0/100.mtu`),
/// or with slashes only, as the kernel has it.
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
        Err(Error::Invalid(format!("{name:?} is no kernel parameter")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_names() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("net")).unwrap();
        // One parameter by two names, so that the last one is seen.
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
