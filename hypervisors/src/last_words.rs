//! The last lines a VMM wrote to its standard error: bounded, and safe to print.

use std::{collections::VecDeque, sync::Arc};

use slog::debug;
use system::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncReadExt};

const LINES: usize = 10;
const LINE_BYTES: usize = 400;

/// The last lines, shared between the task that reads them and those that report them.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl LastWords {
    /// Reads the lines of `from` to its end.
    pub async fn listen(self, mut from: impl AsyncRead + Unpin, log: slog::Logger) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            for line in self.lock().take(&buffer[..length]) {
                debug!(log, "VMM wrote to standard error"; "line" => line);
            }
        }
        if let Some(line) = self.lock().end_line() {
            debug!(log, "VMM wrote to standard error"; "line" => line);
        }
    }

    /// The lines, oldest first, as one line of text.
    pub fn text(&self) -> String {
        let ring = self.lock();
        if ring.lines.is_empty() {
            return String::from("it said nothing");
        }
        ring.lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Adds a line of our own.
    pub fn add(&self, line: &str) {
        self.lock().push(line.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock()
    }
}

impl Ring {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                ended.extend(self.end_line());
            } else if self.partial.len() < LINE_BYTES {
                self.partial.push(*byte);
            }
        }
        ended
    }

    fn end_line(&mut self) -> Option<String> {
        let line = escape(&std::mem::take(&mut self.partial));
        if line.is_empty() {
            return None;
        }
        self.push(line.clone());
        Some(line)
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut line = String::new();
    for character in String::from_utf8_lossy(bytes).trim_end().chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(input: &[u8]) -> String {
        let words = LastWords::default();
        let log = slog::Logger::root(slog::Discard, slog::o!());
        words.clone().listen(input, log).await;
        words.text()
    }

    #[tokio::test]
    async fn the_last_lines_are_kept() {
        let input: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let text = heard(input.as_bytes()).await;
        assert!(text.starts_with("line 90; line 91; "), "{text}");
        assert!(text.ends_with("; line 99"), "{text}");
    }

    #[tokio::test]
    async fn control_characters_and_bad_utf8_are_made_harmless() {
        assert_eq!(
            heard(b"a\x1b[2Jb\xff\r\n\n  \nrest").await,
            "a\\u{1b}[2Jb\u{fffd}; rest"
        );
    }

    #[tokio::test]
    async fn a_giant_line_is_cut() {
        assert_eq!(heard(&vec![b'x'; 1 << 20]).await.len(), LINE_BYTES);
    }

    #[tokio::test]
    async fn silence_is_said() {
        assert_eq!(heard(b"").await, "it said nothing");
    }
}
