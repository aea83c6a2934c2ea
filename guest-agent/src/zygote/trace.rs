//! The errors that libcontainer logs.
//!
//! A process that libcontainer has forked reports only the outermost error to its parent. Which system
//! call, path or mount has failed, and why, is only in its log. So log messages of the level `error` are
//! written to an unnamed file that the forked processes share.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use system::sync::Mutex;
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// Largest log of one request, in bytes; there are rarely more than five messages.
const MAX_SIZE: u64 = 64 << 10;

/// The log of the current request.
static FILE: Mutex<Option<File>> = Mutex::new(None);

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
pub fn listen() {
    let _already_listening = tracing::subscriber::set_global_default(ErrorLog);
}

/// Starts the log of a new request. Processes of earlier requests go on writing to their own.
///
/// # Errors
///
/// When the file cannot be made.
pub fn begin() -> io::Result<()> {
    let file = File::from(memfd_create(c"errors", MFdFlags::MFD_CLOEXEC)?);
    *FILE.lock() = Some(file);
    Ok(())
}

/// The errors since [`begin`], the innermost cause first.
pub fn events() -> Vec<Event> {
    let mut file = FILE.lock();
    let mut text = String::new();
    if let Some(file) = file.as_mut() {
        let _incomplete_on_error = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(MAX_SIZE).read_to_string(&mut text));
    }
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn append(event: &Event) -> io::Result<()> {
    let mut file = FILE.lock();
    let Some(file) = file.as_mut() else {
        return Ok(());
    };
    let mut line = serde_json::to_vec(event)?;
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
        listen();
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
    }
}
