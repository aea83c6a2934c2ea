//! The orphaned VMM of a template that was never finished because `imprint factory init` was
//! killed. Only this VMM can have a mapping of the unfinished memory file, so that identifies it.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::stat::{major, minor};
use system::process;

/// How long a killed process may take to end. It ends at once unless it is stuck in the kernel.
const GONE: Duration = Duration::from_secs(10);

/// Kills every process that maps `file`, waits until each has ended, and returns how many there
/// were. Blocks.
pub(crate) fn kill_mappers_of(file: &Path) -> io::Result<usize> {
    let meta = match std::fs::metadata(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let (device, inode) = (meta.dev(), meta.ino());
    let file = Mapped {
        device: format!("{:02x}:{:02x}", major(device), minor(device)),
        inode: inode.to_string(),
    };
    let own = process::own_number()?;
    let mut killed = 0;
    for pid in process::all() {
        if pid != own && kill_if_mapping(pid, &file)? {
            killed += 1;
        }
    }
    Ok(killed)
}

/// A file, as `/proc/<pid>/maps` shows it.
struct Mapped {
    device: String,
    inode: String,
}

impl Mapped {
    /// Whether it is among these mappings (proc_pid_maps(5)): columns are compared, since a name
    /// behind them may hold anything.
    fn is_in(&self, maps: &[u8]) -> bool {
        maps.split(|byte| *byte == b'\n').any(|line| {
            let mut columns = line.split(|byte| *byte == b' ').skip(3);
            columns.next() == Some(self.device.as_bytes())
                && columns.next() == Some(self.inode.as_bytes())
        })
    }

    /// Whether the process maps the file. Kernel threads and other users' processes have no
    /// mappings that can be read, and count as not mapping it.
    fn is_mapped_by(&self, pid: u32) -> bool {
        std::fs::read(format!("/proc/{pid}/maps")).is_ok_and(|maps| self.is_in(&maps))
    }
}

/// Kills the process if it maps the file, and returns whether it did. The mappings are read again
/// once the pidfd is open: the pid may have been reused in between.
fn kill_if_mapping(pid: u32, file: &Mapped) -> io::Result<bool> {
    if !file.is_mapped_by(pid) {
        return Ok(false);
    }
    let Some(pidfd) = process::hold(pid)? else {
        return Ok(false);
    };
    if !file.is_mapped_by(pid) {
        return Ok(false);
    }
    if !process::kill(&pidfd)? {
        return Ok(false);
    }
    if process::ends_by(&pidfd, Instant::now() + GONE)? {
        return Ok(true);
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("timed out after {GONE:?} waiting for killed process {pid} to end"),
    ))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_that_looks_like_the_columns_is_no_mapping() {
        let file = Mapped {
            device: "00:1b".into(),
            inode: "4711".into(),
        };
        let line = |device, inode, name| {
            format!("7f0000000000-7f0000001000 r-xp 00000000 {device} {inode}          {name}")
        };
        assert!(file.is_in(line("00:1b", "4711", "/run/memory").as_bytes()));
        for (device, inode) in [("00:1b", "47"), ("00:1c", "4711")] {
            let named = line(device, inode, "/tmp/x 00:1b 4711 y");
            assert!(!file.is_in(named.as_bytes()), "{named}");
        }
    }

    #[test]
    fn only_processes_that_map_the_file_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("sleep");
        std::fs::copy("/bin/sleep", &copy).unwrap();
        let sleep = |binary: &Path| {
            let mut command = Command::new(binary);
            command.arg("60").stdin(Stdio::null()).spawn().unwrap()
        };
        let (mut mapping, mut other) = (sleep(&copy), sleep(Path::new("/bin/sleep")));

        assert_eq!(kill_mappers_of(&copy).unwrap(), 1);
        assert!(!mapping.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(kill_mappers_of(&dir.path().join("none")).unwrap(), 0);
    }
}
