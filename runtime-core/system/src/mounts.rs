//! The table of mounts (proc_pid_mountinfo(5)).

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The calling thread's table: a thread may be in another mount namespace than its process.
pub const TABLE: &str = "/proc/thread-self/mountinfo";

/// A line of the table: one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id, as `mnt_id` in `/proc/self/fdinfo`.
    pub id: u64,
    /// Device of the file system, as in `8:1`.
    pub device: String,
    /// The directory of the file system that is mounted: `/` for the whole of it.
    pub root: PathBuf,
    /// The directory on which it is mounted.
    pub point: PathBuf,
    /// Type of the file system, as in `tmpfs`.
    pub kind: OsString,
    /// The source: a device, a file, or any word.
    pub source: OsString,
}

/// All mounts that the calling thread sees, in the order in which they were made.
///
/// # Errors
/// `/proc` is not mounted, or is of a pid namespace in which this process is not.
pub fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read(TABLE)?))
}

/// Reads a table. A line of another form is left out.
#[must_use]
pub fn parse(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(parse_line).collect()
}

/// The visible mount at a path: of several, the last one covers the others.
#[must_use]
pub fn at<'a>(mounts: &'a [Mount], point: &Path) -> Option<&'a Mount> {
    mounts.iter().rfind(|mount| mount.point == point)
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
    let id = text(fields.next()?)?.parse().ok()?;
    let _parent = fields.next()?;
    let device = text(fields.next()?)?;
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    // Any number of optional fields, with a dash behind them.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Mount {
        id,
        device,
        root: root.into(),
        point: point.into(),
        kind: OsStr::from_bytes(rest.next()?).to_owned(),
        source: unescape(rest.next()?),
    })
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw - ext4 /dev/root rw
90 22 0:50 /sub\\134x /s/with\\040space rw,nosuid shared:5 master:1 - tmpfs a\\011b rw,size=800k
91 22 0:51 / /s/covered ro - erofs /s/4/layer.erofs ro
92 22 0:52 / /s/covered rw - tmpfs tmpfs rw
93 22 0:53 / /no/dash rw tmpfs tmpfs rw
x 22 0:54 / /no/number rw - tmpfs tmpfs rw
95 22 0:55 / /not/utf\xff8 rw - fuse.\xff none rw
short line

";

    #[test]
    fn each_field_is_found_and_unescaped() {
        let mounts = parse(TABLE);
        let points: Vec<&[u8]> = mounts
            .iter()
            .map(|mount| mount.point.as_os_str().as_bytes())
            .collect();
        let expected: [&[u8]; 5] = [
            b"/",
            b"/s/with space",
            b"/s/covered",
            b"/s/covered",
            b"/not/utf\xff8",
        ];
        assert_eq!(points, expected);
        let expected = Mount {
            id: 90,
            device: "0:50".to_owned(),
            root: "/sub\\x".into(),
            point: "/s/with space".into(),
            kind: "tmpfs".into(),
            source: "a\tb".into(),
        };
        assert_eq!(mounts[1], expected);
    }

    #[test]
    fn the_last_mount_at_a_path_is_the_one_that_is_seen() {
        let mounts = parse(TABLE);
        let kind = |point: &str| at(&mounts, Path::new(point)).map(|mount| mount.kind.clone());
        assert_eq!(kind("/s/covered"), Some("tmpfs".into()));
        assert_eq!(kind("/"), Some("ext4".into()));
        assert_eq!(kind("/s"), None);
    }

    #[test]
    fn only_what_the_kernel_escapes_is_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(br"/tail\04"), r"/tail\04");
        assert_eq!(unescape(br"/no\999octal\400"), r"/no\999octal\400");
    }

    #[test]
    fn this_machine_has_mounts() {
        let mounts = all().unwrap();
        assert_eq!(at(&mounts, Path::new("/proc")).unwrap().kind, "proc");
    }
}
