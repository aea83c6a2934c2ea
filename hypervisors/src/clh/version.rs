//! Which Cloud Hypervisor it is, and what follows from that.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A version, as `vmm.ping` answers it: `51.1.0`, `v51.1`, also with text behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Number of the release.
    pub major: u32,
    /// The fix of that release.
    pub minor: u32,
}

/// The oldest that is used: before it a private memory file was opened for writing, and a raw disk
/// was guessed at.
pub const MINIMUM: Version = Version {
    major: 51,
    minor: 0,
};
/// From here on a restore names how memory comes back.
const MEMORY_RESTORE_MODE: u32 = 52;

impl Version {
    /// Why this version is not used, if it is not.
    pub fn obstacle(self) -> Option<String> {
        if self >= MINIMUM {
            return None;
        }
        let why = if self.major <= 48 {
            "devices cannot be attached to its restored VMs reliably, and it opens the memory of a \
             clone for writing"
        } else {
            "it opens the memory of a clone for writing"
        };
        Some(format!(
            "it is version {self}, at least v{} is needed: {why}",
            MINIMUM.major
        ))
    }

    /// How a restore is asked to bring memory back: to copy what was saved, of which there is
    /// nothing where memory is a file. Older ones know no other way and no such key.
    pub fn memory_restore_mode(self) -> Option<&'static str> {
        (self.major >= MEMORY_RESTORE_MODE).then_some("Copy")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

/// The text names no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version")]
pub struct InvalidVersion(String);

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.chars().take(40).collect());
        let plain = text.strip_prefix('v').unwrap_or(text);
        let plain = plain.split(['-', '+', ' ']).next().unwrap_or_default();
        let mut numbers = plain.split('.').map(str::parse);
        let major = numbers.next().and_then(Result::ok).ok_or_else(invalid)?;
        let minor = match numbers.next() {
            None => 0,
            Some(minor) => minor.map_err(|_| invalid())?,
        };
        Ok(Self { major, minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_told() {
        let read = |text: &str| text.parse::<Version>().map(|v| (v.major, v.minor));
        assert_eq!(read("51.1.0"), Ok((51, 1)));
        assert_eq!(read("v53.0"), Ok((53, 0)));
        assert_eq!(read("v52.0-120-gabcdef"), Ok((52, 0)));
        assert_eq!(read("54"), Ok((54, 0)));
        for text in ["", "v", "x.y", "51.x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn old_versions_are_refused_with_the_reason() {
        let obstacle = |text: &str| text.parse::<Version>().unwrap().obstacle();
        assert_eq!(obstacle("51.0"), None);
        assert_eq!(obstacle("100.0"), None);
        let why = obstacle("48.0").unwrap();
        assert!(why.contains("version v48.0, at least v51"), "{why}");
        assert!(why.contains("restored VMs"), "{why}");
        assert!(obstacle("50.2").unwrap().contains("for writing"));
    }

    #[test]
    fn memory_is_never_restored_on_demand() {
        let mode = |text: &str| text.parse::<Version>().unwrap().memory_restore_mode();
        assert_eq!(mode("51.1"), None);
        assert_eq!(mode("52.0"), Some("Copy"));
        assert_eq!(mode("53.0"), Some("Copy"));
    }
}
