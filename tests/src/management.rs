//! A shim's management socket, asked as a collector of metrics asks it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use playground::{Error, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of the answer to `GET <path>` of the sandbox's shim.
pub fn get(run_root: &Path, sandbox: &str, path: &str) -> Result<String> {
    let socket = run_root.join("s").join(sandbox).join("shim-monitor.sock");
    let failed = || Error::io("Asking", &socket);
    let mut stream = UnixStream::connect(&socket).map_err(failed())?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .and_then(|()| write!(stream, "GET {path} HTTP/1.1\r\nHost: shim\r\n\r\n"))
        .map_err(failed())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(Error::Unexpected(format!("GET {path}: {answer}"))),
    }
}
