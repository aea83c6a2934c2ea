//! The daemon's log: logfmt lines on standard error, which is containerd's `log` fifo.
//!
//! One line is one write, so lines of several shims do not mix. When containerd does not read and
//! the fifo is full, lines are lost rather than waited for.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use slog::{Drain, KV, Key, Level, Logger, OwnedKVList, Record, Serializer, o};

/// Longest line, in bytes; a fifo takes up to 4096 at once (PIPE_BUF).
const MAX_LINE: usize = 4096;

/// Whether records of level debug are written. Known in part before there is a logger, by a flag,
/// and in part after, by the configuration of a pod.
pub static DEBUG: AtomicBool = AtomicBool::new(false);

/// The daemon's logger. Records of libraries that use the `log` crate go there too.
pub fn logger(debug: bool) -> Logger {
    DEBUG.store(debug, Ordering::Relaxed);
    let logger = Logger::root(Logfmt.fuse(), o!("runtime" => crate::info::RUNTIME));
    let library = if debug {
        log::LevelFilter::Debug
    } else {
        log::LevelFilter::Error
    };
    if log::set_boxed_logger(Box::new(Library(logger.clone()))).is_ok() {
        log::set_max_level(library);
    }
    logger
}

/// Writes records of level info, and of debug where that is asked for.
struct Logfmt;

impl Drain for Logfmt {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        let level = match DEBUG.load(Ordering::Relaxed) {
            true => Level::Debug,
            false => Level::Info,
        };
        if record.level().is_at_least(level) {
            let line = line(SystemTime::now(), record, values);
            // Nothing is left to report a failure to.
            let _ = io::stderr().write_all(line.as_bytes());
        }
        Ok(())
    }
}

fn line(now: SystemTime, record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut line = Line(format!(
        "time=\"{}\" level={} msg=",
        rfc3339(now),
        level(record.level())
    ));
    line.quote(&record.msg().to_string());
    let _ = values.serialize(record, &mut line);
    let _ = record.kv().serialize(record, &mut line);
    let mut text = line.0;
    if text.len() >= MAX_LINE {
        let mut end = MAX_LINE - 5;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text.push('\n');
    text
}

/// containerd's names for levels.
fn level(level: Level) -> &'static str {
    match level {
        Level::Critical => "fatal",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

struct Line(String);

impl Line {
    /// Appends a value; quotes and control characters cannot end it.
    fn quote(&mut self, value: &str) {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '=');
        if !value.is_empty() && value.chars().all(plain) {
            self.0.push_str(value);
            return;
        }
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                c if c.is_control() => {
                    let _ = write!(self.0, "{}", c.escape_default());
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        self.quote(&value.to_string());
        Ok(())
    }
}

/// The last second of the year 9999: dates of later years cannot be written.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// A point in time as RFC 3339 has it, in UTC with microseconds; the nearest that can be written
/// where the clock is wrong.
fn rfc3339(at: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_micros(at.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST))
}

/// Passes on the records of libraries.
struct Library(Logger);

impl log::Log for Library {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (log, target) = (&self.0, record.target());
        match record.level() {
            log::Level::Error => slog::warn!(log, "{}", record.args(); "library" => target),
            _ => slog::debug!(log, "{}", record.args(); "library" => target),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        let before = rfc3339(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(before.to_string(), at(0));
        assert_eq!(at(LAST.as_secs() + 1), "9999-12-31T23:59:59.000000Z");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_field() {
        let mut line = Line(String::new());
        line.quote("a\" level=fatal\nx=\u{1b}[31m\\");
        assert_eq!(line.0, r#""a\" level=fatal\nx=\u{1b}[31m\\""#);
    }

    #[test]
    fn lines_are_bounded() {
        let text = "x".repeat(10_000);
        let text = line(
            UNIX_EPOCH,
            &slog::record!(Level::Info, "", &format_args!("{text}"), slog::b!()),
            &OwnedKVList::from(o!()),
        );
        assert!(text.len() <= MAX_LINE && text.ends_with("...\n"));
    }
}
