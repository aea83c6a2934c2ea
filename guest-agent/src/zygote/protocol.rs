//! What the agent and its zygote say to each other: one datagram each way, with descriptors.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Longest datagram. Specifications are passed in files.
const MAX_DATAGRAM: usize = 64 << 10;
/// Standard input, output and error.
pub const MAX_DESCRIPTORS: usize = 3;

/// What the zygote is asked for. The descriptors that come with `Create` and `Exec` become the
/// process's standard input, output and error; with a console there is one, which comes to its end
/// when the agent has done what it does to the terminal.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make a container up to the point where its program would be executed.
    Create {
        id: String,
        bundle: PathBuf,
        console: Option<PathBuf>,
    },
    /// Let it execute its program.
    Start { id: String },
    /// Run a program beside it.
    Exec {
        id: String,
        process: PathBuf,
        console: Option<PathBuf>,
    },
    /// Kill what is left of it and forget it.
    Delete { id: String },
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// A child of the *agent*, by the agent's pid namespace.
    Child(i32),
    Failed(String),
    /// The container's first process has ended.
    Ended,
}

/// Sends one message.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[RawFd],
) -> io::Result<()> {
    let data = serde_json::to_vec(message)?;
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() {
        &[][..]
    } else {
        &rights[..]
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

/// Receives one message; `UnexpectedEof` when the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut data = vec![0; MAX_DATAGRAM];
    let (length, descriptors) = receive_bytes(socket, &mut data)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((serde_json::from_slice(&data[..length])?, descriptors))
}

/// Receives bytes and the descriptors that come with them.
#[allow(unsafe_code)]
pub fn receive_bytes(socket: BorrowedFd<'_>, data: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    loop {
        let mut slices = [IoSliceMut::new(data)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => {
                let mut descriptors = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(received) = control {
                        // SAFETY: the kernel has just made these descriptors for this process, and
                        // nothing else knows them.
                        descriptors.extend(
                            received
                                .into_iter()
                                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                        );
                    }
                }
                return Ok((message.bytes, descriptors));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
