//! Mount options as users write them.

use nix::mount::MsFlags;

/// Options taken apart: what the kernel takes as flags, and what the file system takes as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub flags: MsFlags,
    pub data: String,
}

impl Options {
    /// Reads a list of options. A later one wins over an earlier one that says the contrary.
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

/// The flag that an option sets or clears.
fn flag(option: &str) -> Option<(MsFlags, bool)> {
    Some(match option {
        "ro" => (MsFlags::MS_RDONLY, true),
        "rw" => (MsFlags::MS_RDONLY, false),
        "nosuid" => (MsFlags::MS_NOSUID, true),
        "suid" => (MsFlags::MS_NOSUID, false),
        "nodev" => (MsFlags::MS_NODEV, true),
        "dev" => (MsFlags::MS_NODEV, false),
        "noexec" => (MsFlags::MS_NOEXEC, true),
        "exec" => (MsFlags::MS_NOEXEC, false),
        "sync" => (MsFlags::MS_SYNCHRONOUS, true),
        "async" => (MsFlags::MS_SYNCHRONOUS, false),
        "dirsync" => (MsFlags::MS_DIRSYNC, true),
        "noatime" => (MsFlags::MS_NOATIME, true),
        "atime" => (MsFlags::MS_NOATIME, false),
        "nodiratime" => (MsFlags::MS_NODIRATIME, true),
        "diratime" => (MsFlags::MS_NODIRATIME, false),
        "relatime" => (MsFlags::MS_RELATIME, true),
        "strictatime" => (MsFlags::MS_STRICTATIME, true),
        "bind" => (MsFlags::MS_BIND, true),
        "rbind" => (MsFlags::MS_BIND.union(MsFlags::MS_REC), true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let options = Options::parse(["ro", "size=1m", "nosuid", "rw", "mode=1777", ""]);
        assert_eq!(options.flags, MsFlags::MS_NOSUID);
        assert_eq!(options.data, "size=1m,mode=1777");
        assert_eq!(
            Options::parse(["rbind"]).flags,
            MsFlags::MS_BIND | MsFlags::MS_REC
        );
    }
}
