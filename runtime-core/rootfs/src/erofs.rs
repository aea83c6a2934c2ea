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

/// How long one image may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// Longest name of a file (limits.h). mkfs.erofs 1.5 stores one byte less, and then says something
/// that tells nobody why.
const NAME_MAX: usize = 255;
/// How much of the program's last words is kept, in bytes.
const LAST_WORDS: usize = 1000;
/// The time of the making that is written into every image: later than any file's, in the year
/// 2106, since a file's later time is cut to it (mkfs.erofs: `-T` would replace all times).
const IMAGE_TIME: &str = "4294967295";
/// Where the program is besides `PATH`, which a service may have without it.
const USUAL_PLACES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Fills `image`, an empty file, with an uncompressed image of the tree at `tree`.
///
/// The same tree gives the same image: no name, no random identifier and no time of the making is
/// in it. Times of files are kept, except of those later than [`IMAGE_TIME`].
pub(super) fn make(tree: &Path, image: &File) -> Result<(), RootfsError> {
    let program = find().ok_or(RootfsError::NoMkfs)?;
    let failed = RootfsError::io("Running", &program);
    let result = run(&program, tree, image).map_err(failed)?;
    match result {
        Ended::Done(status, _) if status.success() => Ok(()),
        Ended::Done(status, words) => {
            let signal = status.signal();
            let reason = match signal {
                Some(signal) => format!("it ended by signal {signal}"),
                None => match name_too_long(tree) {
                    Some(path) => format!("{words}; {path:?} has a name of {NAME_MAX} bytes"),
                    None => words,
                },
            };
            Err(RootfsError::Mkfs { reason, signal })
        }
        Ended::TooLate => Err(RootfsError::Timeout {
            waited_for: "mkfs.erofs".to_owned(),
            waited: DEADLINE,
        }),
    }
}

enum Ended {
    Done(ExitStatus, String),
    TooLate,
}

fn run(program: &Path, tree: &Path, image: &File) -> io::Result<Ended> {
    let mut words = File::from(memfd_create("mkfs.erofs", MemfdFlags::CLOEXEC)?);
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
        .stderr(words.try_clone()?)
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
        None => Ok(Ended::Done(status, last_words(&mut words)?)),
        Some(Ok(_)) => Ok(Ended::TooLate),
        Some(Err(error)) => Err(error),
    }
}

fn ends_in_time(child: &Child) -> io::Result<bool> {
    process::ends_by(process::hold_child(child.id())?, Instant::now() + DEADLINE)
}

fn last_words(words: &mut File) -> io::Result<String> {
    let length = words.seek(SeekFrom::End(0))?;
    words.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS as u64)))?;
    let mut text = Vec::new();
    words.take(LAST_WORDS as u64).read_to_end(&mut text)?;
    let lines = String::from_utf8_lossy(&text);
    let told: Vec<&str> = lines
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    Ok(told.join("; ").escape_debug().to_string())
}

/// A file whose name may be the reason of a failure.
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

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(USUAL_PLACES.iter().map(PathBuf::from))
        .map(|dir| dir.join("mkfs.erofs"))
        .find(|program| program.is_file())
}
