//! Sockets that only their owner can open, from their first moment on.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
};

use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};

/// How many connections may wait to be accepted, as in the standard library.
const BACKLOG: i32 = 128;

/// Listens on a socket of mode 0600. The mode is set before the socket has a name, and the kernel
/// makes the file with it (`unix_bind_bsd`). So another user can connect at no moment, and the
/// process's umask is not changed.
///
/// # Errors
/// As of bind(2).
pub fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    let socket: OwnedFd = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Err(error) = listen(&socket, BACKLOG) {
        let _ = std::fs::remove_file(path);
        return Err(error.into());
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::MetadataExt, net::UnixStream},
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[test]
    fn a_socket_is_private_from_its_first_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let done = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = std::collections::BTreeSet::new();
                while !done.load(Ordering::Relaxed) {
                    if let Ok(found) = fs::symlink_metadata(&path) {
                        seen.insert(found.mode() & 0o777);
                    }
                }
                seen
            });
            for _ in 0..2000 {
                let listener = listen_privately(&path).unwrap();
                UnixStream::connect(&path).unwrap();
                listener.accept().unwrap();
                fs::remove_file(&path).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            watcher.join().unwrap()
        });
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0o600]);
    }

    #[test]
    fn a_name_that_is_taken_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = listen_privately(&path).unwrap();
        let again = listen_privately(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }
}
