//! What libcontainer logs as it fails.
//!
//! The process that becomes a container's tells the one it was forked from only the outermost words of
//! its error; which system call, path or mount it was, and why, is in its log alone. So what is logged
//! as an error goes into a file without a name that the forked processes share.

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

/// Errors kept of one request; there are rarely more than five.
const MOST: u64 = 64 << 10;

/// Where the current request's errors go.
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Something that was logged as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub message: String,
    /// Names and values, in the library's order.
    pub fields: Vec<(String, String)>,
}

impl Event {
    /// The value of the first of `names` that there is.
    pub fn field(&self, names: &[&str]) -> Option<&str> {
        let found = |name| self.fields.iter().find(|(field, _)| field == name);
        names
            .iter()
            .find_map(|name| found(*name))
            .map(|(_, value)| value.as_str())
    }
}

/// Starts to listen to what is logged in this process and those forked from it.
pub fn listen() {
    let _is_listened_to_already = tracing::subscriber::set_global_default(Errors);
}

/// Begins a new request's list. What earlier requests' processes still log goes to theirs.
///
/// # Errors
///
/// When there can be no file.
pub fn begin() -> io::Result<()> {
    let file = File::from(memfd_create(c"errors", MFdFlags::MFD_CLOEXEC)?);
    *FILE.lock() = Some(file);
    Ok(())
}

/// What was logged since [`begin`], the innermost cause first.
pub fn events() -> Vec<Event> {
    let mut file = FILE.lock();
    let mut text = String::new();
    if let Some(file) = file.as_mut() {
        let _what_could_be_read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(MOST).read_to_string(&mut text));
    }
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn keep(event: &Event) -> io::Result<()> {
    let mut file = FILE.lock();
    let Some(file) = file.as_mut() else {
        return Ok(());
    };
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    if file.metadata()?.len() + line.len() as u64 > MOST {
        return Ok(());
    }
    file.write_all(&line)
}

struct Errors;

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut kept = Event::default();
        event.record(&mut kept);
        let _is_for_the_error_text_only = keep(&kept);
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
    fn errors_are_kept_in_their_order_and_nothing_else() {
        listen();
        begin().unwrap();
        tracing::error!(err = ?nix::errno::Errno::ENOENT, "inner {}", 1);
        tracing::debug!("noise");
        tracing::error!("outer");
        let kept = events();
        let messages: Vec<_> = kept.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(messages, ["inner 1", "outer"]);
        assert_eq!(kept[0].field(&["e", "err"]), Some("ENOENT"));
        begin().unwrap();
        assert!(events().is_empty());
    }
}
