//! Runs mkfs.erofs.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};
use system::process;

use super::RootfsError;

/// How long packing one image may take.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Longest name of a file (limits.h). mkfs.erofs 1.5 stores one byte less, and its error message
/// does not say that this is the reason.
const NAME_MAX: usize = 255;
/// How much of the end of the program's error output is reported, in bytes.
const LAST_OUTPUT: usize = 1000;
/// The build time in every image: in the year 2106, later than any file's time, since later times
/// of files are replaced by it. (The option `-T` of mkfs.erofs would replace all times.)
const IMAGE_TIME: &str = "4294967295";
/// Directories that are searched after `PATH`, which a service may have without them.
const USUAL_DIRECTORIES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Fills `image`, an empty file, with an uncompressed image of the tree at `tree`.
///
/// The same tree gives the same image: it contains no name, no random identifier and no build time.
/// Times of files are preserved, unless they are later than [`IMAGE_TIME`].
pub(super) fn make(tree: &Path, image: &File) -> Result<(), RootfsError> {
    let program = find_mkfs().ok_or(RootfsError::NoMkfs)?;
    let failed = RootfsError::io("Running", &program);
    let result = run(&program, tree, image).map_err(failed)?;
    match result {
        Ended::Done(status, _) if status.success() => Ok(()),
        Ended::Done(status, output) => {
            let signal = status.signal();
            let reason = match signal {
                Some(signal) => format!("it ended by signal {signal}"),
                None => match name_too_long(tree) {
                    Some(path) => format!("{output}; {path:?} has a name of {NAME_MAX} bytes"),
                    None => output,
                },
            };
            Err(RootfsError::Mkfs { reason, signal })
        }
        Ended::TimedOut => Err(RootfsError::Timeout {
            waited_for: "mkfs.erofs".to_owned(),
            waited: TIMEOUT,
        }),
    }
}

/// How the program ended.
enum Ended {
    /// With this status, and the end of its error output.
    Done(ExitStatus, String),
    /// It was killed after the timeout.
    TimedOut,
}

fn run(program: &Path, tree: &Path, image: &File) -> io::Result<Ended> {
    let mut output = File::from(memfd_create("mkfs.erofs", MemfdFlags::CLOEXEC)?);
    // The image is the program's standard input, so that it needs no name.
    let mut child = Command::new(program)
        .args(["--quiet", "-U", "00000000-0000-0000-0000-000000000000"])
        .arg("/proc/self/fd/0")
        .arg(tree)
        .env_clear()
        .env("SOURCE_DATE_EPOCH", IMAGE_TIME)
        .current_dir("/")
        .stdin(image.try_clone()?)
        .stdout(Stdio::null())
        .stderr(output.try_clone()?)
        .spawn()?;
    let ended = match ends_in_time(&child) {
        Ok(true) => None,
        other => {
            child.kill()?;
            Some(other)
        }
    };
    let status = child.wait()?;
    match ended {
        None => Ok(Ended::Done(status, last_output(&mut output)?)),
        Some(Ok(_)) => Ok(Ended::TimedOut),
        Some(Err(error)) => Err(error),
    }
}

fn ends_in_time(child: &Child) -> io::Result<bool> {
    process::ends_by(process::hold_child(child.id())?, Instant::now() + TIMEOUT)
}

/// The last lines of the error output, as one line.
fn last_output(output: &mut File) -> io::Result<String> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(LAST_OUTPUT as u64)))?;
    let mut text = Vec::new();
    output.take(LAST_OUTPUT as u64).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    Ok(lines.join("; ").escape_debug().to_string())
}

/// A file of the tree whose name is too long, which may be the reason of a failure.
fn name_too_long(tree: &Path) -> Option<PathBuf> {
    let mut pending = vec![tree.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).ok()?.flatten() {
            if entry.file_name().len() >= NAME_MAX {
                return entry.path().strip_prefix(tree).ok().map(Path::to_owned);
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    None
}

/// Path of the program, if it is installed.
fn find_mkfs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from))
        .map(|dir| dir.join("mkfs.erofs"))
        .find(|program| program.is_file())
}
