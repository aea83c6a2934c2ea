//! Mount options as in `/etc/fstab` and OCI specifications.

use nix::mount::MsFlags;

/// Mount options for mount(2).
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub flags: MsFlags,
    /// The options of the file system, separated by commas.
    pub data: String,
}

impl Options {
    /// Parses a list of options. A later option overrides a contrary one before it.
    pub fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = MsFlags::empty();
        let mut data = Vec::new();
        for option in options {
            match flag(option) {
                Some((changed, true)) => flags.insert(changed),
                Some((changed, false)) => flags.remove(changed),
                None if option.is_empty() || option == "defaults" => {}
                None => data.push(option),
            }
        }
        Self {
            flags,
            data: data.join(","),
        }
    }
}

/// `MS_NOSYMFOLLOW` (Linux 5.10, linux/mount.h); nix does not define it.
const NO_SYMLINKS: MsFlags = MsFlags::from_bits_retain(256);
const RECURSIVE_BIND: MsFlags = MsFlags::MS_BIND.union(MsFlags::MS_REC);

/// Options that have a recursive form, with `r` before them; it is applied to the mount itself
/// only. The flag of each option, and whether it is set or cleared.
const RECURSIVE: [(&str, MsFlags, bool); 18] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("nosymfollow", NO_SYMLINKS, true),
    ("symfollow", NO_SYMLINKS, false),
];
/// The other options that are flags.
const PLAIN: [(&str, MsFlags, bool); 16] = [
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("remount", MsFlags::MS_REMOUNT, true),
    ("mand", MsFlags::MS_MANDLOCK, true),
    ("nomand", MsFlags::MS_MANDLOCK, false),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
    ("nolazytime", MsFlags::MS_LAZYTIME, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
    ("iversion", MsFlags::MS_I_VERSION, true),
    ("noiversion", MsFlags::MS_I_VERSION, false),
    ("bind", MsFlags::MS_BIND, true),
    ("rbind", RECURSIVE_BIND, true),
    // Without effect on the mounts that the agent makes. libcontainer ignores them, too.
    ("idmap", MsFlags::empty(), true),
    ("ridmap", MsFlags::empty(), true),
];

/// The flag of an option, and whether it is set (`true`) or cleared.
fn flag(option: &str) -> Option<(MsFlags, bool)> {
    let named = |word: &str| {
        let mut known = RECURSIVE.iter().chain(&PLAIN);
        known.find(|one| one.0 == word)
    };
    let recursive = |word: &str| RECURSIVE.iter().find(|one| one.0 == word);
    let found = named(option).or_else(|| recursive(option.strip_prefix('r')?))?;
    Some((found.1, found.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_libcontainer_is_not_data() {
        let words = [
            "defaults",
            "norelatime",
            "nostrictatime",
            "mand",
            "nomand",
            "rnosuid",
            "rsuid",
            "rnodev",
            "rdev",
            "rnoexec",
            "rexec",
            "rro",
            "rrw",
            "ratime",
            "rnoatime",
            "rdiratime",
            "rnodiratime",
            "rrelatime",
            "rnorelatime",
            "rstrictatime",
            "rnostrictatime",
            "rnosymfollow",
            "rsymfollow",
            "idmap",
            "ridmap",
            "remount",
            "lazytime",
            "nolazytime",
            "silent",
            "loud",
            "iversion",
            "noiversion",
        ];
        for word in words {
            assert_eq!(Options::parse([word]).data, "", "{word}");
        }
        assert_eq!(Options::parse(["rnoexec"]).flags, MsFlags::MS_NOEXEC);
        assert_eq!(Options::parse(["ro", "rrw", "rw"]).flags, MsFlags::empty());
        assert_eq!(Options::parse(["rsize=1", "rsync"]).data, "rsize=1,rsync");
    }

    #[test]
    fn flags_and_data_are_separated() {
        let options = Options::parse(["ro", "size=1m", "nosuid", "rw", "mode=1777", ""]);
        assert_eq!(options.flags, MsFlags::MS_NOSUID);
        assert_eq!(options.data, "size=1m,mode=1777");
        assert_eq!(
            Options::parse(["rbind"]).flags,
            MsFlags::MS_BIND | MsFlags::MS_REC
        );
    }
}
