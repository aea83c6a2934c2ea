//! A program that runs: its streams, its end, and when its first byte came.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};
use system::{encoding::hex, process};

use crate::{
    Error, Result,
    wait::{Deadline, Interest, ready},
};

/// Output kept for looking at; all of it goes into the digest.
const KEPT_OUTPUT: usize = 1 << 20;

/// One output of a running program.
#[derive(Debug)]
struct Stream {
    file: Option<File>,
    kept: Vec<u8>,
    digest: Sha256,
    length: u64,
    started: Instant,
    first_byte: Option<Duration>,
}

impl Stream {
    fn of(descriptor: Option<OwnedFd>, started: Instant) -> Self {
        let file = descriptor.map(File::from);
        Self {
            file,
            kept: Vec::new(),
            digest: Sha256::new(),
            length: 0,
            started,
            first_byte: None,
        }
    }

    /// Takes what is there; the descriptor is known to be ready.
    fn pump(&mut self) {
        let Some(file) = &mut self.file else { return };
        let mut buffer = [0; 65536];
        match file.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // A terminal whose other side is gone answers EIO.
            Ok(0) | Err(_) => self.file = None,
            Ok(n) => {
                self.first_byte
                    .get_or_insert_with(|| self.started.elapsed());
                let room = KEPT_OUTPUT.saturating_sub(self.kept.len()).min(n);
                self.kept.extend_from_slice(&buffer[..room]);
                self.digest.update(&buffer[..n]);
                self.length += n as u64;
            }
        }
    }
}

/// A program as it was just started.
pub(crate) struct Started {
    pub text: String,
    pub child: Child,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub is_terminal: bool,
    pub pending: Vec<u8>,
    pub close_when_written: bool,
    pub started: Instant,
    pub deadline: Duration,
}

impl Started {
    /// Puts the program under watch.
    pub(crate) fn watch(self) -> Result<Running> {
        let failed = |source| Error::Program {
            action: "Watching",
            program: self.text.clone(),
            source,
        };
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(io::Error::other("no pid")))?;
        let pidfd = process::hold_child(self.child.id()).map_err(failed)?;
        if let Some(stdin) = &self.stdin {
            fcntl(stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| failed(e.into()))?;
        }
        Ok(Running {
            text: self.text,
            child: self.child,
            pid,
            pidfd,
            stdin: self.stdin.map(File::from),
            is_terminal: self.is_terminal,
            pending: self.pending,
            close_when_written: self.close_when_written,
            stdout: Stream::of(self.stdout, self.started),
            stderr: Stream::of(self.stderr, self.started),
            started: self.started,
            deadline: Deadline::after(self.deadline),
            status: None,
        })
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line that was run.
    pub program: String,
    /// Exit code, or 128 plus the signal's number.
    pub code: i32,
    /// The first MiB of standard output.
    pub stdout: String,
    /// The first MiB of standard error.
    pub stderr: String,
    /// Length of standard output in bytes.
    pub stdout_length: u64,
    /// SHA-256 of all of standard output, in hex.
    pub stdout_sha256: String,
    /// From the start to the first byte of standard output.
    pub first_byte: Option<Duration>,
    /// From the start to the end.
    pub elapsed: Duration,
}

impl Finished {
    /// The standard output of a program that ended with 0.
    pub fn success(self) -> Result<String> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        let stderr = format!("{}{}", self.stderr.trim(), self.stdout.trim());
        Err(Error::Ended {
            program: self.program,
            code: self.code,
            stderr,
        })
    }
}

/// A program that runs. Dropped before its end, it is killed with its process group.
#[derive(Debug)]
pub struct Running {
    text: String,
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    stdin: Option<File>,
    is_terminal: bool,
    pending: Vec<u8>,
    close_when_written: bool,
    stdout: Stream,
    stderr: Stream,
    started: Instant,
    deadline: Deadline,
    status: Option<ExitStatus>,
}

impl Running {
    /// The process's number in `/proc`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Queues bytes for standard input; they are written while output is read.
    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Standard output so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.stdout.kept).into_owned()
    }

    /// Reads until standard output holds the text.
    pub fn read_until(&mut self, text: &str) -> Result<()> {
        self.read_until_by(text, self.deadline)
    }

    /// Reads until standard output holds the text, but no longer than this.
    pub fn read_until_within(&mut self, text: &str, patience: Duration) -> Result<()> {
        self.read_until_by(text, Deadline::after(patience))
    }

    fn read_until_by(&mut self, text: &str, deadline: Deadline) -> Result<()> {
        let waited_for = format!("{text:?} from {}", self.text);
        while !String::from_utf8_lossy(&self.stdout.kept).contains(text) {
            if self.stdout.file.is_none() {
                let so_far = String::from_utf8_lossy(&self.stdout.kept).into_owned();
                let errors = String::from_utf8_lossy(&self.stderr.kept).into_owned();
                return Err(Error::Unexpected(format!(
                    "{} ended its output without {text:?}: {so_far:?} {errors:?}",
                    self.text
                )));
            }
            self.step(deadline, &waited_for)?;
        }
        Ok(())
    }

    /// Closes standard input and waits for the end of the program and of its output.
    pub fn finish(mut self) -> Result<Finished> {
        self.close_when_written = true;
        let waited_for = format!("{} to end", self.text);
        while self.status.is_none() || self.stdout.file.is_some() || self.stderr.file.is_some() {
            self.step(self.deadline, &waited_for)?;
        }
        let code = self.status.map_or(-1, |status| {
            status
                .code()
                .or_else(|| status.signal().map(|s| 128 + s))
                .unwrap_or(-1)
        });
        let digest = std::mem::replace(&mut self.stdout.digest, Sha256::new()).finalize();
        Ok(Finished {
            program: std::mem::take(&mut self.text),
            code,
            stdout: String::from_utf8_lossy(&self.stdout.kept).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr.kept).into_owned(),
            stdout_length: self.stdout.length,
            stdout_sha256: hex(&digest),
            first_byte: self.stdout.first_byte,
            elapsed: self.started.elapsed(),
        })
    }

    /// Waits for the next thing to happen and takes it in.
    fn step(&mut self, deadline: Deadline, waited_for: &str) -> Result<()> {
        let close = self.close_when_written && self.pending.is_empty();
        // A terminal is not closed: its end of file is a character.
        if close && !self.is_terminal {
            self.stdin = None;
        }
        let mut watched: Vec<(BorrowedFd<'_>, Interest)> = Vec::with_capacity(4);
        let mut roles = Vec::with_capacity(4);
        if let Some(file) = &self.stdout.file {
            watched.push((file.as_fd(), Interest::Read));
            roles.push(Role::Stdout);
        }
        if let Some(file) = &self.stderr.file {
            watched.push((file.as_fd(), Interest::Read));
            roles.push(Role::Stderr);
        }
        if let Some(file) = self.stdin.as_ref().filter(|_| !self.pending.is_empty()) {
            watched.push((file.as_fd(), Interest::Write));
            roles.push(Role::Stdin);
        }
        if self.status.is_none() {
            watched.push((self.pidfd.as_fd(), Interest::Read));
            roles.push(Role::End);
        }
        let ready = ready(&watched, deadline, waited_for)?;
        for (role, _) in roles.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            match role {
                Role::Stdout => self.stdout.pump(),
                Role::Stderr => self.stderr.pump(),
                Role::Stdin => self.feed(),
                Role::End => {
                    let failed = |source| Error::Program {
                        action: "Waiting for",
                        program: self.text.clone(),
                        source,
                    };
                    self.status = Some(self.child.wait().map_err(failed)?);
                }
            }
        }
        Ok(())
    }

    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        match stdin.write(&self.pending) {
            Ok(n) => drop(self.pending.drain(..n)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // The program no longer reads: what is left has no taker.
            Err(_) => {
                self.pending.clear();
                self.stdin = None;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Role {
    Stdout,
    Stderr,
    Stdin,
    End,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
