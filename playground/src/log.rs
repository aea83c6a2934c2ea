//! A log file that another process writes, read as it grows.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::{
    Error, Result,
    wait::{Deadline, readable},
};

/// A place in a log: what was written before it is of no interest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark(usize);

/// A log file that is written while it is read.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// The log in a file that exists.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log's present end.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(fs::metadata(&self.path).map_or(0, |m| usize::try_from(m.len()).unwrap_or(0)))
    }

    /// What was written since, whole lines only.
    #[must_use]
    pub fn since(&self, mark: Mark) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        let fresh = String::from_utf8_lossy(bytes.get(mark.0..).unwrap_or_default()).into_owned();
        let whole = fresh.rfind('\n').map_or(0, |end| end + 1);
        fresh[..whole].to_owned()
    }

    /// Waits for a line written since the mark that gives `found` something.
    pub fn wait_for<T>(
        &self,
        mark: Mark,
        deadline: Deadline,
        waited_for: &str,
        found: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let watch_failed = |errno: nix::errno::Errno| Error::Io {
            action: "Watching",
            path: self.path.clone(),
            source: errno.into(),
        };
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).map_err(watch_failed)?;
        inotify
            .add_watch(&self.path, AddWatchFlags::IN_MODIFY)
            .map_err(watch_failed)?;
        loop {
            // Looked at after the watch was set: a line written in between is not missed.
            if let Some(value) = self.since(mark).lines().find_map(&found) {
                return Ok(value);
            }
            readable(inotify.as_fd(), deadline, waited_for)?;
            let _ = inotify.read_events();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::Log;
    use crate::wait::Deadline;

    #[test]
    fn a_line_that_comes_later_is_found_and_an_older_one_is_not() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let log = Log::at(file.path().to_owned());
        writeln!(file, "value 1").unwrap();
        let mark = log.mark();
        let writer = std::thread::spawn(move || {
            write!(file, "val").unwrap();
            writeln!(file, "ue 2").unwrap();
            file
        });
        let deadline = Deadline::after(Duration::from_secs(5));
        let value = log.wait_for(mark, deadline, "a value", |line| {
            line.strip_prefix("value ").map(str::to_owned)
        });
        assert_eq!(value.unwrap(), "2");
        drop(writer.join());
    }
}
