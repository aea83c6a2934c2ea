//! The guest agent's log, passed on into ours: bounded, escaped by our log's format, never trusted.

use std::{io, path::PathBuf, time::Duration};

use serde::Deserialize;
use slog::{Logger, debug, info, o, warn};
use tokio::{
    io::{AsyncReadExt, BufReader},
    net::UnixStream,
    time::Instant,
};

/// Longest line that is passed on, in bytes; the rest of a longer one is dropped.
const MAX_LINE: usize = 2048;

/// Lines passed on per window; further ones are counted and dropped.
const LINES: u32 = 200;

/// Length of that window.
const WINDOW: Duration = Duration::from_secs(10);

/// What the agent writes: one JSON object per line, of which these keys are used.
#[derive(Deserialize)]
struct Entry {
    level: Option<String>,
    msg: Option<String>,
}

/// Passes the agent's log on until the VM closes its socket.
pub fn follow(socket: PathBuf, log: &Logger) {
    let log = log.new(o!("source" => "agent"));
    tokio::spawn(async move {
        if let Err(error) = read(socket, &log).await {
            debug!(log, "guest's log ended"; "error" => %error);
        }
    });
}

async fn read(socket: PathBuf, log: &Logger) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(4096, UnixStream::connect(socket).await?);
    let mut line = Vec::new();
    let mut rate = Rate::new();
    loop {
        let byte = match stream.read_u8().await {
            Ok(byte) => byte,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if byte != b'\n' {
            if line.len() < MAX_LINE {
                line.push(byte);
            }
            continue;
        }
        if let Some(dropped) = rate.admit(Instant::now()) {
            if dropped > 0 {
                warn!(log, "lines of the guest's log were dropped"; "lines" => dropped);
            }
            pass_on(&line, log);
        }
        line.clear();
    }
}

fn pass_on(line: &[u8], log: &Logger) {
    let (level, text) = match serde_json::from_slice::<Entry>(line) {
        Ok(Entry {
            level,
            msg: Some(msg),
        }) => (level.unwrap_or_default(), msg),
        _ => (String::new(), String::from_utf8_lossy(line).into_owned()),
    };
    match level.to_ascii_lowercase().as_str() {
        "warn" | "warning" | "warng" | "error" | "erro" | "crit" | "critical" => {
            info!(log, "{}", text; "guest_level" => level);
        }
        _ => debug!(log, "{}", text),
    }
}

/// Admits so many lines per window.
struct Rate {
    since: Instant,
    admitted: u32,
    dropped: u32,
}

impl Rate {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            admitted: 0,
            dropped: 0,
        }
    }

    /// `Some` lets a line pass and says how many were dropped in the window before it.
    fn admit(&mut self, now: Instant) -> Option<u32> {
        let mut dropped = 0;
        if now.duration_since(self.since) >= WINDOW {
            dropped = self.dropped;
            *self = Self {
                since: now,
                admitted: 0,
                dropped: 0,
            };
        }
        if self.admitted >= LINES {
            self.dropped += 1;
            return None;
        }
        self.admitted += 1;
        Some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut rate = Rate::new();
        let now = rate.since;
        let passed = (0..1000).filter(|_| rate.admit(now).is_some()).count();
        assert_eq!(passed, LINES as usize);
        assert_eq!(rate.admit(now + WINDOW), Some(1000 - LINES));
        assert_eq!(rate.admit(now + WINDOW), Some(0));
    }
}
