//! Where the agent's own messages go: one JSON object a line.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use slog::{Drain, Level, Logger, o};

use crate::{error::Result, ports};

/// A logger on the virtio port named `imprint.log` if there is one, else on standard error.
///
/// `level` is a name as slog knows it; anything else means `info`.
pub fn logger(level: &str) -> Logger {
    let level = level.parse().unwrap_or(Level::Info);
    let sink = Sink {
        port: ports::find(Path::new(ports::CLASS), ports::LOG).and_then(|path| {
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
                .ok()
        }),
        console: io::stderr(),
    };
    let json = slog_json::Json::default(sink).filter_level(level);
    #[expect(
        clippy::disallowed_types,
        reason = "of all locks, slog takes this one for a drain"
    )]
    let json = std::sync::Mutex::new(json);
    Logger::root(json.ignore_res(), o!("source" => "agent"))
}

/// Writes to the port, and to the console what the port does not take.
///
/// The port never blocks the agent: without a reader on the host it refuses, and the line goes to
/// the console instead.
struct Sink {
    port: Option<File>,
    console: io::Stderr,
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.port {
            Some(port) => port
                .write(data)
                .or_else(|_refused| self.console.write(data)),
            None => self.console.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.console.flush()
    }
}

/// Says that something could not be undone, to whom no caller listens: another error is being returned.
pub fn not_undone(log: &Logger, undone: Result<()>) {
    if let Err(error) = undone {
        slog::warn!(log, "not undone"; "cause" => error.chain());
    }
}
