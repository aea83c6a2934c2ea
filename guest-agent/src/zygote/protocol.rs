//! The messages between the agent and its zygote: datagrams of JSON, with descriptors.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::syscalls;

/// Longest datagram, in bytes. Specifications are passed in files.
const MAX_DATAGRAM: usize = 64 << 10;

/// What the zygote is to do.
///
/// `Create` and `Exec` come with three descriptors, which become the process's standard input,
/// output and error. With a console they come with one: the process reads the end of that file when
/// the agent has prepared the terminal.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Creates a container, up to the point where its program would be executed.
    Create {
        id: String,
        bundle: PathBuf,
        /// Path of the socket to which the terminal's master is sent.
        console: Option<PathBuf>,
    },
    /// Makes the first process execute its program.
    Start { id: String },
    /// Runs a process beside the first one.
    Exec {
        id: String,
        /// Path of the file with the process's specification.
        process: PathBuf,
        console: Option<PathBuf>,
    },
    /// Kills the processes that still run, and removes the container's records and cgroup.
    Delete { id: String },
}

/// The outcome of a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// The pid of the new process, which is a child of the agent and not of the zygote.
    Child(i32),
    /// The reason, in one line.
    Failed(String),
    /// The container's first process has ended.
    Ended,
}

/// Sends one message, with descriptors.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[RawFd],
) -> io::Result<()> {
    let data = serde_json::to_vec(message)?;
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = match descriptors.is_empty() {
        true => &[][..],
        false => &rights[..],
    };
    loop {
        let data = [IoSlice::new(&data)];
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &data,
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message; `UnexpectedEof` when the other side has closed the socket.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut data = vec![0; MAX_DATAGRAM];
    let (length, descriptors) = syscalls::receive_with_descriptors(socket, &mut data)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&data[..length])?, descriptors))
}
