//! The errors that libcontainer logs.
//!
//! A process that libcontainer has forked reports only the outermost error to its parent. Which
//! system call, path or mount has failed, and why, is only in its log. So log messages of the level
//! `error` are written to an unnamed file that the forked processes share, each with the number of
//! the request that the process was forked for.
//!
//! The file is made once, before a template is saved: a file for each request would cost each start
//! of a clone. It is closed when a program is executed. Until then libcontainer makes the forked
//! processes undumpable, so a program in the same pid namespace cannot open it through procfs,
//! unless it has CAP_SYS_PTRACE.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::FileExt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use serde::{Deserialize, Serialize};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// How many bytes one process may log for one request. There are rarely more than five messages.
const MAX_SIZE: u64 = 64 << 10;
/// How many bytes of the file's end are read for one request. Each process has a limit of its own,
/// but any number of processes share the file.
const MAX_READ: u64 = 16 * MAX_SIZE;
/// How many bytes of one text of an event are logged. Longer than any path.
const MAX_TEXT: usize = 8 << 10;

/// The log of this process, which forked processes inherit.
static LOG: OnceLock<Log> = OnceLock::new();

/// A log message of the level `error`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub message: String,
    /// Names and values, in the order of the log statement.
    pub fields: Vec<(String, String)>,
}

impl Event {
    /// The value of the first of `names` that the event has.
    pub fn field(&self, names: &[&str]) -> Option<&str> {
        let found = |name| self.fields.iter().find(|(field, _)| field == name);
        names
            .iter()
            .find_map(|name| found(*name))
            .map(|(_, value)| value.as_str())
    }
}

/// Starts to listen to log messages in this process and in those that are forked from it.
///
/// # Errors
///
/// When the file cannot be made.
pub fn listen() -> io::Result<()> {
    let _made_once = LOG.set(Log::new()?);
    let _already_listening = tracing::subscriber::set_global_default(ErrorLog);
    Ok(())
}

/// Starts the log of a new request. What processes of earlier requests still log is not part of it.
///
/// # Errors
///
/// When the file cannot be emptied.
pub fn begin() -> io::Result<()> {
    LOG.get().map_or(Ok(()), Log::begin)
}

/// The errors of the current request, the innermost cause first.
pub fn events() -> Vec<Event> {
    LOG.get().map(Log::events).unwrap_or_default()
}

/// The file, and what each process that shares it has of its own.
struct Log {
    file: File,
    /// The number of the current request. A forked process keeps the one that it was forked with.
    request: AtomicU64,
    /// How many bytes this process may still log for the request. The limit is not one of the file:
    /// what processes of earlier requests log would count, too.
    left: AtomicU64,
}

impl Log {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create(c"errors", MFdFlags::MFD_CLOEXEC)?);
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        Ok(Self {
            file,
            request: AtomicU64::new(0),
            left: AtomicU64::new(MAX_SIZE),
        })
    }

    fn begin(&self) -> io::Result<()> {
        self.request.fetch_add(1, Ordering::Relaxed);
        self.left.store(MAX_SIZE, Ordering::Relaxed);
        match self.file.metadata()?.len() {
            0 => Ok(()),
            _ => self.file.set_len(0),
        }
    }

    fn events(&self) -> Vec<Event> {
        let request = self.request.load(Ordering::Relaxed);
        let length = self.file.metadata().map_or(0, |found| found.len());
        let end = ReadFrom(&self.file, length.saturating_sub(MAX_READ));
        let lines = BufReader::new(end.take(MAX_READ)).split(b'\n');
        lines
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_slice::<(u64, Event)>(&line).ok())
            .filter(|(of, _)| *of == request)
            .map(|(_, event)| event)
            .collect()
    }

    /// Appends one line. Takes no system call but write(2), since a container's system call filter
    /// may be loaded already.
    fn append(&self, event: &Event) -> io::Result<()> {
        // A process that is killed while it writes leaves a part of a line, which ends here.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, &(self.request.load(Ordering::Relaxed), event))?;
        line.push(b'\n');
        let length = line.len() as u64;
        let take = |left: u64| left.checked_sub(length);
        match self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => (&self.file).write_all(&line),
            Err(_) => Ok(()),
        }
    }
}

/// Reads a file from this offset on. The file's own offset is not used: every process that shares
/// the file moves it by writing.
struct ReadFrom<'a>(&'a File, u64);

impl Read for ReadFrom<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read_at(buffer, self.1)?;
        self.1 += length as u64;
        Ok(length)
    }
}

/// Appends errors to the log, and ignores everything else.
struct ErrorLog;

impl Subscriber for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut appended = Event::default();
        event.record(&mut appended);
        let _lost_on_error = LOG.get().map(|log| log.append(&appended));
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

impl Visit for Event {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut value = format!("{value:?}");
        value.truncate(value.floor_char_boundary(MAX_TEXT));
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push((field.name().to_owned(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str) -> Event {
        Event {
            message: message.into(),
            ..Event::default()
        }
    }

    /// What a process has that is forked now.
    fn fork(log: &Log) -> Log {
        Log {
            file: log.file.try_clone().unwrap(),
            request: AtomicU64::new(log.request.load(Ordering::Relaxed)),
            left: AtomicU64::new(log.left.load(Ordering::Relaxed)),
        }
    }

    #[test]
    fn only_errors_are_logged_and_in_their_order() {
        listen().unwrap();
        begin().unwrap();
        tracing::error!(err = ?nix::errno::Errno::ENOENT, "inner {}", 1);
        tracing::debug!("noise");
        tracing::error!("outer");
        tracing::error!("{}", "\u{e4}".repeat(100_000));
        let logged = events();
        let messages: Vec<_> = logged.iter().map(|event| event.message.as_str()).collect();
        let cut = "\u{e4}".repeat(MAX_TEXT / 2);
        assert_eq!(messages, ["inner 1", "outer", &cut]);
        assert_eq!(logged[0].field(&["e", "err"]), Some("ENOENT"));
        begin().unwrap();
        assert!(events().is_empty());
    }

    #[test]
    fn a_request_sees_the_events_of_its_own_processes_only() {
        let log = Log::new().unwrap();
        log.begin().unwrap();
        let earlier = fork(&log);
        log.begin().unwrap();
        let forked = fork(&log);
        earlier.append(&event("earlier")).unwrap();
        forked.append(&event("forked")).unwrap();
        earlier.append(&event("earlier")).unwrap();
        log.append(&event("own")).unwrap();
        assert_eq!(log.events(), [event("forked"), event("own")]);
    }

    #[test]
    fn an_earlier_request_cannot_silence_a_later_one() {
        let log = Log::new().unwrap();
        log.begin().unwrap();
        let earlier: Vec<Log> = (0..20).map(|_| fork(&log)).collect();
        for _ in 0..20 {
            log.append(&event(&"x".repeat(MAX_TEXT))).unwrap();
        }
        assert!(log.file.metadata().unwrap().len() <= MAX_SIZE);
        log.begin().unwrap();
        for _ in 0..20 {
            for one in &earlier {
                one.append(&event(&"x".repeat(MAX_TEXT))).unwrap();
            }
        }
        // Of a process that was killed while it wrote.
        (&earlier[0].file)
            .write_all(b"[2,{\"message\":\"\xc3")
            .unwrap();
        fork(&log).append(&event("forked")).unwrap();
        assert_eq!(log.events(), [event("forked")]);
        // More than is read.
        let length = log.file.metadata().unwrap().len();
        assert!(length > MAX_READ && length < 21 * MAX_SIZE);
    }

    #[test]
    fn the_file_is_closed_when_a_program_is_executed() {
        let flags = fcntl(&Log::new().unwrap().file, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
    }
}
