//! A program to run, and what is left of it when it has ended.

use std::{
    ffi::OsStr,
    fs::File,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Error, Result,
    running::{Finished, Running, Started},
};

/// A program to run, in a process group of its own so that Ctrl-C reaches only its starter.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Input,
    deadline: Duration,
}

#[derive(Debug)]
enum Input {
    Null,
    Bytes(Vec<u8>),
    Open,
    Terminal,
}

impl Program {
    /// A program without arguments, with nothing to read, that may take three minutes: ten clones
    /// at once do, where every instruction is emulated twice.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.process_group(0);
        Self {
            command,
            input: Input::Null,
            deadline: Duration::from_secs(180),
        }
    }

    /// Adds arguments to the command line.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Writes these bytes to standard input, then closes it.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Leaves standard input open until [`Running::finish`].
    #[must_use]
    pub fn open_input(mut self) -> Self {
        self.input = Input::Open;
        self
    }

    /// Gives the program a terminal for all three streams.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.input = Input::Terminal;
        self
    }

    /// How long it may take, from start to end.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the program, its output going nowhere near ours, and leaves it to itself.
    pub fn spawn_detached(mut self, output: &File) -> Result<Child> {
        let text = self.text();
        let failed = |source| Error::Program {
            action: "Starting",
            program: text.clone(),
            source,
        };
        self.command.stdin(Stdio::null());
        self.command.stdout(output.try_clone().map_err(failed)?);
        self.command.stderr(output.try_clone().map_err(failed)?);
        self.command.spawn().map_err(failed)
    }

    /// Starts the program and returns while it runs.
    pub fn start(mut self) -> Result<Running> {
        let text = self.text();
        let failed = |source| Error::Program {
            action: "Starting",
            program: text.clone(),
            source,
        };
        let mut terminal = None;
        if let Input::Terminal = self.input {
            let pty = nix::pty::openpty(None, None).map_err(|e| failed(e.into()))?;
            self.command.stdin(pty.slave.try_clone().map_err(failed)?);
            self.command.stdout(pty.slave.try_clone().map_err(failed)?);
            self.command.stderr(pty.slave);
            terminal = Some(pty.master);
        } else {
            let piped = !matches!(self.input, Input::Null);
            self.command
                .stdin(if piped { Stdio::piped() } else { Stdio::null() });
            self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let started = Instant::now();
        let mut child = self.command.spawn().map_err(failed)?;
        // The command still holds the terminal's slave side; the master would never see the end.
        drop(self.command);
        let is_terminal = terminal.is_some();
        let (stdin, stdout) = match terminal {
            Some(master) => (Some(master.try_clone().map_err(failed)?), Some(master)),
            None => (
                child.stdin.take().map(OwnedFd::from),
                child.stdout.take().map(OwnedFd::from),
            ),
        };
        let stderr = child.stderr.take().map(OwnedFd::from);
        let (pending, close_when_written) = match self.input {
            Input::Bytes(bytes) => (bytes, true),
            _ => (Vec::new(), false),
        };
        Started {
            text,
            child,
            stdin,
            stdout,
            stderr,
            is_terminal,
            pending,
            close_when_written,
            started,
            deadline: self.deadline,
        }
        .watch()
    }

    /// Runs the program to its end.
    pub fn run(self) -> Result<Finished> {
        self.start()?.finish()
    }

    /// Runs the program to its end, which must be a success, and returns its standard output.
    pub fn succeed(self) -> Result<String> {
        self.run()?.success()
    }

    fn text(&self) -> String {
        let args = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        args.map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Program;
    use crate::Error;

    fn shell(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    #[test]
    fn input_is_written_and_closed_and_output_is_digested_whole() {
        let bytes = vec![b'x'; 3 << 20];
        let finished = Program::new("cat").input(bytes).run().unwrap();
        assert_eq!((finished.code, finished.stdout_length), (0, 3 << 20));
        let expected = shell("head -c 3145728 /dev/zero | tr '\\0' x | sha256sum").succeed();
        assert!(expected.unwrap().starts_with(&finished.stdout_sha256));
    }

    #[test]
    fn a_terminal_is_one() {
        let finished = shell("tty -s && stty size && echo yes")
            .terminal()
            .run()
            .unwrap();
        assert!(finished.stdout.contains("yes"), "{finished:?}");
    }

    #[test]
    fn an_overdue_program_is_killed() {
        let overdue = shell("sleep 100").within(Duration::from_millis(50)).run();
        assert!(matches!(overdue, Err(Error::Timeout { .. })));
    }

    #[test]
    fn a_conversation_goes_back_and_forth() {
        let mut running = Program::new("cat").open_input().start().unwrap();
        running.write(b"one\n");
        running.read_until("one\n").unwrap();
        running.write(b"two\n");
        running.read_until("two\n").unwrap();
        assert_eq!(running.finish().unwrap().code, 0);
    }

    #[test]
    fn codes_and_signals_are_told_as_a_shell_does() {
        assert_eq!(shell("exit 42").run().unwrap().code, 42);
        assert_eq!(shell("kill -TERM $$").run().unwrap().code, 143);
    }
}
