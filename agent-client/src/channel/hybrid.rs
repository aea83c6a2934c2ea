//! Hybrid vsock: a unix socket of the VMM, with a line of text before the stream.

use std::{io, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Longest line that is accepted, in bytes. Cloud Hypervisor answers `OK <host port>`.
const MAX_LINE: usize = 64;

/// Connects to `port` of the guest. The first byte of the stream is the agent's.
pub async fn connect(socket: &Path, port: u32) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("CONNECT {port}\n");
    stream.write_all(request.as_bytes()).await?;
    let line = read_line(&mut stream).await?;
    if line.to_ascii_uppercase().starts_with(b"OK") {
        return Ok(stream);
    }
    let line = line.escape_ascii();
    let refusal = format!("VMM answered {line} to the request for port {port}");
    Err(io::Error::new(io::ErrorKind::InvalidData, refusal))
}

/// Reads byte by byte: what follows the line is the agent's.
async fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(MAX_LINE);
    while line.len() < MAX_LINE {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            byte => line.push(byte),
        }
    }
    Ok(line)
}

/// Whether the guest may still be booting. The VMM closes the connection while the agent does not
/// listen, and its socket may not be there yet.
pub fn is_worth_another_try(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
    )
}
