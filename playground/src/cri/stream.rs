//! Exec, attach and port-forward: websockets to containerd's streaming server, with the channels of
//! the subprotocol `v4.channel.k8s.io`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::fd::AsFd,
};

use crate::{
    Error, Result,
    wait::{Deadline, readable},
};

/// A frame's operation codes (RFC 6455, 5.2).
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// No frame of this server is longer.
const LONGEST: usize = 1 << 20;

/// The channels of an exec or an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard input, from the client to the process.
    Stdin = 0,
    /// Standard output of the process.
    Stdout = 1,
    /// Standard error of the process.
    Stderr = 2,
    /// How it ended, as a `Status` in JSON.
    Error = 3,
    /// The terminal's size, as JSON.
    Resize = 4,
}

/// A websocket that is open.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    deadline: Deadline,
    received: [Vec<u8>; 5],
    closed: bool,
}

impl Session {
    /// Opens what a call answered with.
    pub fn open(url: &str, deadline: Deadline) -> Result<Self> {
        let bad = || Error::Unexpected(format!("No address of a stream: {url}"));
        let rest = url.strip_prefix("http://").ok_or_else(bad)?;
        let (host, path) = rest.split_once('/').ok_or_else(bad)?;
        let stream = TcpStream::connect(host).map_err(Error::io("Connecting to", host))?;
        let mut session = Self {
            stream,
            deadline,
            received: Default::default(),
            closed: false,
        };
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aW1wcmludC10ZXN0cy0wMQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        session.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < 1 << 16 {
            answer.push(session.read_exactly(1)?[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        if answer.starts_with("HTTP/1.1 101 ") {
            Ok(session)
        } else {
            Err(Error::Unexpected(format!("No websocket: {answer}")))
        }
    }

    /// Sends bytes on a channel.
    pub fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let mut payload = vec![channel];
        payload.extend_from_slice(bytes);
        self.write_frame(BINARY, &payload)
    }

    /// Sends bytes to the standard input of the process.
    pub fn input(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(Channel::Stdin as u8, bytes)
    }

    /// Tells the size of the terminal.
    pub fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}");
        self.send(Channel::Resize as u8, size.as_bytes())
    }

    /// What a channel has brought so far.
    #[must_use]
    pub fn text(&self, channel: Channel) -> String {
        String::from_utf8_lossy(&self.received[channel as usize]).into_owned()
    }

    /// Reads until a channel has brought these words.
    pub fn read_until(&mut self, channel: Channel, words: &str) -> Result<()> {
        while !self.text(channel).contains(words) {
            if !self.next()? {
                return Err(Error::Unexpected(format!(
                    "The stream ended without {words:?}: {:?} {:?} {:?}",
                    self.text(Channel::Stdout),
                    self.text(Channel::Stderr),
                    self.text(Channel::Error)
                )));
            }
        }
        Ok(())
    }

    /// Reads to the end.
    pub fn finish(&mut self) -> Result<()> {
        while self.next()? {}
        Ok(())
    }

    /// The exit code that the error channel tells of, once the stream has ended.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let status: serde_json::Value =
            serde_json::from_slice(&self.received[Channel::Error as usize]).ok()?;
        if status["status"] == "Success" {
            return Some(0);
        }
        let causes = status["details"]["causes"].as_array()?;
        let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
        cause["message"].as_str()?.parse().ok()
    }

    /// Takes in one frame; `false` when there are no more.
    fn next(&mut self) -> Result<bool> {
        if self.closed {
            return Ok(false);
        }
        let Some((code, payload)) = self.read_frame()? else {
            self.closed = true;
            return Ok(false);
        };
        match (code, payload.split_first()) {
            (CLOSE, _) => self.closed = true,
            (PING, _) => self.write_frame(10, &payload)?,
            (_, Some((&channel, bytes))) => {
                if let Some(received) = self.received.get_mut(usize::from(channel)) {
                    received.extend_from_slice(bytes);
                }
            }
            _ => {}
        }
        Ok(!self.closed)
    }

    fn read_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        readable(self.stream.as_fd(), self.deadline, "the stream to go on")?;
        let mut first = [0];
        // A server that closes without a word ends the stream too.
        if !matches!(self.stream.read(&mut first), Ok(1)) {
            return Ok(None);
        }
        let length = self.read_exactly(1)?[0] & 0x7f;
        let length = match length {
            126 => usize::from(u16::from_be_bytes(self.read_array()?)),
            127 => usize::try_from(u64::from_be_bytes(self.read_array()?)).unwrap_or(usize::MAX),
            short => usize::from(short),
        };
        if length > LONGEST {
            return Err(Error::Unexpected(format!("A frame of {length} bytes")));
        }
        Ok(Some((first[0] & 0x0f, self.read_exactly(length)?)))
    }

    /// A client's frames are masked; a mask of zeroes leaves the bytes as they are.
    fn write_frame(&mut self, code: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | code];
        match u16::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length.to_be_bytes()[1]),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                return Err(Error::Unexpected("Too much for one frame".to_owned()));
            }
        }
        frame.extend([0; 4]);
        frame.extend_from_slice(payload);
        self.write_all(&frame)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.stream.write_all(bytes);
        written.map_err(Error::io("Writing to", "the stream"))
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(&self.read_exactly(N)?);
        Ok(array)
    }

    fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while filled < count {
            readable(self.stream.as_fd(), self.deadline, "the stream to go on")?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(Error::Unexpected("The stream broke off".to_owned())),
                Ok(more) => filled += more,
                Err(error) => return Err(Error::io("Reading from", "the stream")(error)),
            }
        }
        Ok(bytes)
    }
}
