//! The index by which the kernel knows an interface.

use std::{fs, io, path::Path};

use super::CLASS;
use crate::error::{Doing, Error, Result};

/// The index of the interface `name`. Read from sysfs: netlink would describe the whole interface.
///
/// # Errors
///
/// When `name` cannot be the name of an interface, or there is none of that name.
pub fn index_of(name: &str) -> Result<u32> {
    if name.is_empty()
        || name.len() >= libc::IFNAMSIZ
        || name.contains('/')
        || [".", ".."].contains(&name)
    {
        return Err(Error::Invalid(format!(
            "{name:?} cannot be the name of an interface"
        )));
    }
    let path = Path::new(CLASS).join(name).join("ifindex");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFound {
                kind: "network interface",
                id: name.to_owned(),
            });
        }
        read => read.on("read", &path)?,
    };
    text.trim()
        .parse()
        .map_err(|_| Error::Invalid(format!("{} contains {text:?}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_name() {
        let index = index_of("lo").unwrap();
        let path = format!("{CLASS}/lo/ifindex");
        let expected = fs::read_to_string(path).unwrap();
        assert_eq!(index.to_string(), expected.trim());
        let absent = index_of("no-such-one").unwrap_err();
        assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    }

    #[test]
    fn an_impossible_name_is_refused() {
        for name in ["", ".", "..", "lo/../lo", "sixteen-letters-"] {
            let refused = index_of(name).unwrap_err();
            assert!(matches!(refused, Error::Invalid(_)), "{name}: {refused}");
        }
    }
}
