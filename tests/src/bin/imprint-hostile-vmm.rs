#![forbid(unsafe_code)]
//! Stands in for QEMU, and for whoever has taken over the guest: runs the real one, but puts itself
//! between the shim and the agent.
//!
//! What the guest says passes as it is until `plan`, a file beside this program, holds a word: then
//! it is kept back (`silence`), comes late (`delay`), is replaced by noise (`noise`), or drowned in
//! it (`flood`).

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use playground::wait::{Deadline, readable};
use rustix::process::{Signal, set_parent_process_death_signal};

/// The real one.
const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// The agent's channel among QEMU's arguments.
const CHANNEL: &str = "socket,id=agent,path=";

/// How late a delayed answer is; longer than the calls' deadlines in the tests.
const DELAY: Duration = Duration::from_secs(5);

/// How much noise a flood is.
const FLOOD: usize = 1 << 30;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [first, socket] if first == "--between" => between(Path::new(socket)),
        _ => become_qemu(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("imprint-hostile-vmm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn become_qemu(mut arguments: Vec<String>) -> Outcome {
    let channel = arguments.iter_mut().find(|one| one.starts_with(CHANNEL));
    if let Some(channel) = channel {
        let rest = channel.trim_start_matches(CHANNEL).to_owned();
        let (path, options) = rest
            .split_once(',')
            .ok_or("the agent's channel has no options")?;
        // A socket's path has room for 107 bytes.
        let inner = Path::new(path).with_file_name("in");
        let inner = inner.to_str().ok_or("the channel has no name")?;
        let listener = UnixListener::bind(path)?;
        *channel = format!("{CHANNEL}{inner},{options}");
        Command::new(std::env::current_exe()?)
            .args(["--between", inner])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()?;
    }
    Err(Command::new(QEMU).args(arguments).exec().into())
}

/// Passes bytes on between whoever connects to standard input, a listening socket, and the guest.
fn between(inner: &Path) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let plan = std::env::current_exe()?.with_file_name("plan");
    for host in listener.incoming() {
        let host = host?;
        let guest = connect(inner)?;
        let (mut from, mut to) = (host.try_clone()?, guest.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let plan = plan.clone();
        thread::spawn(move || {
            // The host has hung up, or the guest has.
            let _ = pass_on(&guest, &host, &plan);
            let _ = host.shutdown(std::net::Shutdown::Both);
        });
    }
    Ok(())
}

/// QEMU binds its socket and then listens on it, which nothing tells of.
fn connect(inner: &Path) -> Result<UnixStream, Box<dyn Error>> {
    for _ in 0..500 {
        if let Ok(guest) = UnixStream::connect(inner) {
            return Ok(guest);
        }
        late(Duration::from_millis(20))?;
    }
    Ok(UnixStream::connect(inner)?)
}

/// Lets time pass: nobody writes into the pipe.
fn late(by: Duration) -> Outcome {
    let (reader, _writer) = io::pipe()?;
    let _ = readable(reader.as_fd(), Deadline::after(by), "the delay to end");
    Ok(())
}

fn pass_on(mut guest: &UnixStream, mut host: &UnixStream, plan: &Path) -> Outcome {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = guest.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let said = &mut buffer[..count];
        match fs::read_to_string(plan).unwrap_or_default().trim() {
            "silence" => continue,
            "delay" => late(DELAY)?,
            "noise" => File::open("/dev/urandom")?.read_exact(said)?,
            "flood" => drop(io::copy(
                &mut File::open("/dev/urandom")?.take(FLOOD as u64),
                &mut host,
            )?),
            _ => {}
        }
        host.write_all(said)?;
    }
}
