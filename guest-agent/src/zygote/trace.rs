//! The errors that libcontainer logs.
//!
//! A process that libcontainer has forked reports only the outermost error to its parent. Which system
//! call, path or mount has failed, and why, is only in its log. So log messages of the level `error` are
//! written to an unnamed file that the forked processes share, each with the number of the request that
//! the process was forked for.
//!
//! The file is made once, before a template is saved: a file for each request would cost each start of a
//! clone.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
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

/// Largest log, in bytes. A request rarely has more than five messages.
const MAX_SIZE: u64 = 64 << 10;

/// The log, which forked processes inherit.
static LOG: OnceLock<File> = OnceLock::new();
/// The number of the current request. A forked process keeps the number that it was forked with.
static REQUEST: AtomicU64 = AtomicU64::new(0);

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
    let file = File::from(memfd_create(c"errors", MFdFlags::MFD_CLOEXEC)?);
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    let _made_once = LOG.set(file);
    let _already_listening = tracing::subscriber::set_global_default(ErrorLog);
    Ok(())
}

/// Starts the log of a new request. What processes of earlier requests still log is not part of it.
///
/// # Errors
///
/// When the file cannot be emptied.
pub fn begin() -> io::Result<()> {
    REQUEST.fetch_add(1, Ordering::Relaxed);
    match LOG.get() {
        Some(file) if file.metadata()?.len() > 0 => file.set_len(0),
        _ => Ok(()),
    }
}

/// The errors of the current request, the innermost cause first.
pub fn events() -> Vec<Event> {
    let mut text = String::new();
    if let Some(mut file) = LOG.get() {
        let _incomplete_on_error = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(MAX_SIZE).read_to_string(&mut text));
    }
    let request = REQUEST.load(Ordering::Relaxed);
    text.lines()
        .filter_map(|line| serde_json::from_str::<(u64, Event)>(line).ok())
        .filter(|(of, _)| *of == request)
        .map(|(_, event)| event)
        .collect()
}

fn append(event: &Event) -> io::Result<()> {
    let Some(mut file) = LOG.get() else {
        return Ok(());
    };
    let mut line = serde_json::to_vec(&(REQUEST.load(Ordering::Relaxed), event))?;
    line.push(b'\n');
    if file.metadata()?.len() + line.len() as u64 > MAX_SIZE {
        return Ok(());
    }
    file.write_all(&line)
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
        let _lost_on_error = append(&appended);
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
        let value = format!("{value:?}");
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

    #[test]
    fn only_errors_are_logged_and_in_their_order() {
        listen().unwrap();
        begin().unwrap();
        tracing::error!(err = ?nix::errno::Errno::ENOENT, "inner {}", 1);
        tracing::debug!("noise");
        tracing::error!("outer");
        let logged = events();
        let messages: Vec<_> = logged.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(messages, ["inner 1", "outer"]);
        assert_eq!(logged[0].field(&["e", "err"]), Some("ENOENT"));
        begin().unwrap();
        assert!(events().is_empty());
        append(&logged[0]).unwrap();
        // As a process does that was forked for an earlier request.
        REQUEST.fetch_sub(1, Ordering::Relaxed);
        append(&logged[1]).unwrap();
        REQUEST.fetch_add(1, Ordering::Relaxed);
        assert_eq!(events(), logged[..1]);
    }
}
