//! Which containerd the tests drive: the machine's own, or another release unpacked beside it.

use std::path::{Path, PathBuf};

use crate::{Error, Result, program::Program};

/// Names another containerd: a directory with its programs, or a release such as `2.1`.
const VARIABLE: &str = "IMPRINT_CONTAINERD";

/// How the script ends that was asked for what it knows nothing of.
const UNKNOWN: i32 = 2;

/// A containerd with its client and its runc shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Directory of its programs; `None` for those on the PATH.
    directory: Option<PathBuf>,
    /// Major and minor version.
    version: (u32, u32),
}

impl Release {
    /// The one that the environment asks for, else the machine's own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where a release cannot be had on this machine now.
    pub fn chosen() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(name) if name.contains('/') => Self::in_directory(PathBuf::from(name)),
            Ok(name) if !name.is_empty() => Self::unpacked(&name),
            _ => Self::found(None),
        }
    }

    /// The release that Debian has in one suite or another, unpacked in the work tree.
    fn unpacked(name: &str) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let top = here.parent().unwrap_or(here);
        let directory = top.join("build/containerd").join(name);
        let got = Program::new(here.join("containerd.sh"))
            .args([Path::new(name), &directory])
            .within(std::time::Duration::from_secs(300))
            .succeed();
        got.map_err(|error| match error {
            Error::Ended { code: UNKNOWN, .. } => error,
            error => Error::Unavailable {
                what: format!("containerd {name}"),
                reason: error.chain(),
            },
        })?;
        Self::in_directory(directory.join("bin"))
    }

    fn in_directory(directory: PathBuf) -> Result<Self> {
        // Its programs run with other working directories than ours.
        let directory = directory
            .canonicalize()
            .map_err(Error::io("Finding", directory))?;
        Self::found(Some(directory))
    }

    fn found(directory: Option<PathBuf>) -> Result<Self> {
        let mut release = Self {
            directory,
            version: (0, 0),
        };
        let output = release
            .program("containerd")
            .args(["--version"])
            .succeed()?;
        release.version = version(&output).ok_or_else(|| {
            Error::Unexpected(format!("containerd says its version is {output:?}"))
        })?;
        Ok(release)
    }

    /// One of its programs, to be run.
    #[must_use]
    pub fn program(&self, name: &str) -> Program {
        Program::new(
            self.directory
                .as_deref()
                .map_or_else(|| PathBuf::from(name), |directory| directory.join(name)),
        )
    }

    /// Where its programs are, as the front of a PATH.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Whether it is at least this version.
    #[must_use]
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        self.version >= (major, minor)
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "containerd {}.{}", self.version.0, self.version.1)
    }
}

/// Major and minor version in what `containerd --version` prints: its name, where it comes from,
/// its version, its commit.
fn version(told: &str) -> Option<(u32, u32)> {
    let mut numbers = told.split_whitespace().nth(2)?.split('.');
    let mut number = || numbers.next()?.trim_start_matches('v').parse::<u32>().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read_as_every_release_tells_them() {
        let project = "containerd github.com/containerd/containerd";
        for (told, expected) in [
            ("1.6.20~ds1 1.6.20~ds1-1+deb12u3", Some((1, 6))),
            (
                "v1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182",
                Some((1, 7)),
            ),
            ("what", None),
            ("", None),
        ] {
            assert_eq!(version(&format!("{project} {told}")), expected, "{told}");
        }
        assert_eq!(
            version(&format!("{project}/v2 2.1.9+unknown \n")),
            Some((2, 1))
        );
    }
}
