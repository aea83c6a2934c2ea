//! Directories that come and go with what is in them.
//!
//! A process that removes the last entry of such a directory removes the directory too, while
//! others make it, or an entry in it. So a directory that was just made may be gone when it is
//! used. [`make_in`] makes an entry and starts again whenever its directory was removed in between.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Mode of a directory that other users cannot look into.
pub const PRIVATE: u32 = 0o700;

/// How long a directory that another process removes again is created anew. Two that run in step
/// can do so for milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Calls `make`, which makes something in `parent`. If it fails with [`ErrorKind::NotFound`],
/// `parent` and all missing directories above it are made with this mode, and `make` is called
/// again.
///
/// # Errors
/// That of `make`, or of a directory that cannot be made.
pub fn make_in<T>(
    parent: &Path,
    mode: u32,
    mut make: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let deadline = Instant::now() + TIMEOUT;
    let mut made = make();
    while made.as_ref().is_err_and(is_gone) && !leads_nowhere(parent) && Instant::now() < deadline {
        thread::yield_now();
        ensure(parent, mode)?;
        made = make();
    }
    made
}

/// Makes a directory with this mode, and its parents where they are missing. There must be none of
/// that name.
///
/// # Errors
/// It is there ([`ErrorKind::AlreadyExists`]), or cannot be made.
pub fn make(path: &Path, mode: u32) -> io::Result<()> {
    match path.parent() {
        Some(parent) => make_in(parent, mode, || make_single(path, mode)),
        None => make_single(path, mode),
    }
}

/// Makes a directory with this mode, and its parents, unless something of that name exists. That it
/// is a directory is not checked.
///
/// # Errors
/// It cannot be made.
pub fn ensure(path: &Path, mode: u32) -> io::Result<()> {
    match make(path, mode) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // The parent of a relative path of one part: the working directory.
        Err(error) if error.kind() == ErrorKind::NotFound && path.as_os_str().is_empty() => Ok(()),
        made => made,
    }
}

/// Calls `make`, which makes its own parents, again while it fails with an error for which `gone`
/// returns true: one that means that a parent was removed meanwhile.
///
/// # Errors
/// That of the last call.
pub fn retry<T, E>(
    mut make: impl FnMut() -> Result<T, E>,
    gone: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + TIMEOUT;
    let mut made = make();
    while made.as_ref().is_err_and(&gone) && Instant::now() < deadline {
        thread::yield_now();
        made = make();
    }
    made
}

/// Whether this is a link to what does not exist. Nothing that is created at this path changes
/// that.
fn leads_nowhere(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// Makes a directory with this mode in one that is there.
///
/// # Errors
/// As of mkdir(2).
pub fn make_single(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)
}

/// Opens a directory for reading. A link to one is refused.
///
/// # Errors
/// As of open(2): it is something else ([`ErrorKind::NotADirectory`]).
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[test]
    fn parents_are_made_with_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        make(&path, 0o700).unwrap();
        for made in path.ancestors().take(3) {
            assert_eq!(fs::metadata(made).unwrap().mode() & 0o777, 0o700);
        }
        assert_eq!(
            make(&path, 0o700).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        ensure(&path, 0o700).unwrap();
    }

    #[test]
    fn a_single_directory_needs_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let below = make_single(&path.join("b"), PRIVATE).unwrap_err();
        assert_eq!(below.kind(), ErrorKind::NotFound);
        make_single(&path, PRIVATE).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let again = make_single(&path, PRIVATE).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn only_a_directory_is_opened_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink(dir.path(), &link).unwrap();
        open(dir.path()).unwrap();
        for other in [&file, &link] {
            assert_eq!(open(other).unwrap_err().kind(), ErrorKind::NotADirectory);
        }
    }

    #[test]
    fn what_is_no_directory_is_an_error_when_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = make(&file.join("below"), 0o700).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        let error = make(&link.join("below"), 0o700).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    /// Two levels that go with their last entry, one thread that does nothing but remove them.
    #[test]
    fn parents_come_and_go_at_any_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (above, parent) = (dir.path().join("p"), dir.path().join("p/q"));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = fs::remove_dir(&parent);
                    let _ = fs::remove_dir(&above);
                }
            });
            let makers: Vec<_> = (0..3)
                .map(|number| {
                    let path = parent.join(number.to_string());
                    scope.spawn(move || {
                        for _ in 0..2000 {
                            make(&path, 0o700).unwrap();
                            fs::remove_dir(&path).unwrap();
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = makers.into_iter().map(|maker| maker.join()).collect();
            done.store(true, Ordering::Relaxed);
            remover.join().unwrap();
            assert!(ended.iter().all(Result::is_ok));
        });
    }
}
