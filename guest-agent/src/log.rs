//! The agent's log: one JSON object for each line.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use agent_client::LOG_PORT_NAME;
use slog::{Drain, Level, Logger, o};

use crate::{error::Result, ports};

/// A logger to the virtio port `imprint.log` if there is one, else to standard error.
///
/// `level` is the name of a level of slog; any other text means `info`.
pub fn logger(level: &str) -> Logger {
    let level = level.parse().unwrap_or(Level::Info);
    let sink = Sink {
        port: ports::find(Path::new(ports::CLASS), LOG_PORT_NAME).and_then(|path| {
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

/// Writes to the port. Lines that the port refuses go to the console.
///
/// The port never blocks the agent: it refuses when the host does not read.
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

/// Logs the failure of a cleanup whose caller gets another error.
pub fn cleanup_failure(log: &Logger, cleanup: Result<()>) {
    if let Err(error) = cleanup {
        slog::warn!(log, "cleanup failed"; "cause" => error.chain());
    }
}
