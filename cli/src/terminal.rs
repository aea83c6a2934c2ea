//! The log as lines for a person at a terminal.

use std::{fmt, io, io::Write as _};

use slog::{Drain, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};

/// A logger that writes to stderr what is at least as important as `least`.
pub(crate) fn logger(least: Level) -> Logger {
    Logger::root(Lines.filter_level(least).ignore_res(), o!())
}

struct Lines;

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let mut line = Line(format!(
            "imprint: {}: {}",
            name(record.level()),
            record.msg()
        ));
        // The line's own serializer cannot fail.
        let _ = slog::KV::serialize(&record.kv(), record, &mut line);
        let _ = slog::KV::serialize(values, record, &mut line);
        // There is no place left to say that stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{}", line.0);
        Ok(())
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "note",
        Level::Debug | Level::Trace => "debug",
    }
}

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        // Values may come from a guest.
        let text = value.to_string();
        self.0
            .push_str(&format!(", {key}: {}", text.escape_debug()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_cannot_write_to_the_terminal() {
        let mut line = Line("message".into());
        line.emit_arguments("reason", &format_args!("a\x1b[2Jb\nc"))
            .unwrap();
        assert_eq!(line.0, "message, reason: a\\u{1b}[2Jb\\nc");
    }
}
