//! Finds and kills a VMM that its shim left behind, and never another process.

use std::{
    ffi::OsStr,
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Instant,
};

use hypervisors::VmmKind;
use system::process;

use super::ProcessRecord;

impl ProcessRecord {
    /// The record of the calling process; `None` if `/proc` is not mounted.
    pub fn of_this_process() -> Option<Self> {
        let pid = process::own_number().ok()?;
        let start_time = process::start_time(pid).ok()?;
        Some(Self { pid, start_time })
    }
}

/// A pidfd of the recorded process, if it still runs. It stays valid if the pid is reused.
pub(super) fn open(recorded: ProcessRecord) -> io::Result<Option<OwnedFd>> {
    process::hold_started(recorded.pid, recorded.start_time)
}

/// Kills the process and waits for its end, at most until `deadline`. Returns whether it has ended.
pub(super) fn kill(process: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    process::kill(process)?;
    process::ends_by(process, deadline)
}

/// VMMs of the sandbox whose directory is `dir`: processes with a path below it among their
/// arguments, or a socket below it as their standard input, that run `binary`, or, if that is not
/// known, a binary with a VMM's name.
pub(super) fn find(dir: &Path, binary: Option<&Path>) -> Vec<ProcessRecord> {
    let mut below = dir.as_os_str().as_encoded_bytes().to_vec();
    below.push(b'/');
    let sockets = sockets_below(&below);
    process::all()
        .filter_map(|pid| {
            let start_time = process::start_time(pid).ok()?;
            let proc = PathBuf::from(format!("/proc/{pid}"));
            if !is_vmm(&fs::read_link(proc.join("exe")).ok()?, binary) {
                return None;
            }
            let arguments = fs::read(proc.join("cmdline")).ok()?;
            let ours = arguments.windows(below.len()).any(|part| part == below)
                || has_input(&proc, &sockets);
            ours.then_some(ProcessRecord { pid, start_time })
        })
        .collect()
}

/// Sockets of this network namespace whose paths begin with `below`, as `/proc/<pid>/fd` shows
/// them. A VMM that inherits its control socket has no path in its arguments.
fn sockets_below(below: &[u8]) -> Vec<String> {
    let table = fs::read("/proc/thread-self/net/unix").unwrap_or_default();
    let named = |line: &[u8]| {
        // The path is the eighth column, after the inode (unix(7)).
        let mut columns = line.splitn(8, |byte| *byte == b' ').skip(6);
        let (inode, path) = (columns.next()?, columns.next()?);
        let inode = std::str::from_utf8(inode).ok()?;
        path.starts_with(below).then(|| format!("socket:[{inode}]"))
    };
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| named(&squeezed(line)))
        .collect()
}

/// The line without the blanks that pad its columns; those in the path are unchanged.
fn squeezed(line: &[u8]) -> Vec<u8> {
    let mut columns = 0;
    let mut squeezed: Vec<u8> = Vec::with_capacity(line.len());
    for &byte in line {
        let blank = byte == b' ' && columns < 7;
        if blank && squeezed.last() == Some(&b' ') {
            continue;
        }
        columns += usize::from(blank);
        squeezed.push(byte);
    }
    squeezed
}

fn has_input(proc: &Path, sockets: &[String]) -> bool {
    let input = fs::read_link(proc.join("fd/0"));
    input.is_ok_and(|input| {
        sockets
            .iter()
            .any(|socket| input.as_os_str() == socket.as_str())
    })
}

/// Whether a process runs the VMM's binary. If that was replaced meanwhile, its path is shown with
/// " (deleted)" at its end.
fn is_vmm(runs: &Path, binary: Option<&Path>) -> bool {
    let shown = runs.as_os_str().as_encoded_bytes();
    let shown = shown.strip_suffix(b" (deleted)").unwrap_or(shown);
    let runs = Path::new(OsStr::from_bytes(shown));
    match binary {
        // Resolved by its directory, since the file itself may be gone or replaced.
        Some(binary) => canonical(binary).is_some_and(|binary| binary == runs),
        None => runs
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_vmm_name),
    }
}

/// Whether this is the name of a supported VMM, for sandboxes without a readable record.
fn is_vmm_name(name: &str) -> bool {
    let programs = VmmKind::ALL.iter().flat_map(|kind| kind.programs());
    programs
        .into_iter()
        .any(|program| name.starts_with(program))
}

fn canonical(binary: &Path) -> Option<PathBuf> {
    fs::canonicalize(binary).ok().or_else(|| {
        let directory = binary.parent()?.canonicalize().ok()?;
        Some(directory.join(binary.file_name()?))
    })
}
