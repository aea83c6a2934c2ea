//! A Cloud Hypervisor without a VM: it speaks the real wire format, answers with what a real one
//! answered, and fails as it is told. Tests start it in the real one's place.
//!
//! What it is told is in the file `faults` beside it: one fault on each line, the name of a call and
//! what goes wrong with it. See `docs/faults.md`. The recorded answers in `clh/` are those of a
//! Cloud Hypervisor v51.1, with other paths.

mod answers;
mod calls;
mod faults;

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixListener},
};

use calls::{Machine, Request};
use faults::{Fault, Faults};

fn main() -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut faults = Faults::beside_this_program()?;
    let mut machine = Machine::default();
    machine.tell("vmm", "starting", &[])?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let Some(request) = read(&mut stream)? else {
            continue;
        };
        let answer = match faults.take(&request.name) {
            None => machine.answer(&request)?,
            Some(fault) => match broken(fault, &mut machine, &request)? {
                Some(answer) => answer,
                None => continue,
            },
        };
        // Who asked may have given up meanwhile.
        let _ = stream.write_all(&answer);
        if machine.over {
            return Ok(());
        }
    }
}

/// What is answered in spite of a fault, if anything is.
fn broken(fault: Fault, machine: &mut Machine, request: &Request) -> io::Result<Option<Vec<u8>>> {
    Ok(match fault {
        Fault::Refuse => Some(answers::refusal()),
        Fault::Close => None,
        Fault::Exit => {
            eprintln!("Error: the fake was told to end");
            std::process::exit(1)
        }
        Fault::Die => std::process::abort(),
        Fault::HalfHead => Some(answers::half_head(&machine.answer(request)?)),
        Fault::HalfBody => Some(answers::half_body(&machine.answer(request)?)),
        Fault::HalfJson => Some(answers::half_json(&machine.answer(request)?)),
        Fault::NoHttp => Some(b"QMP 8.2 at your service\r\n\r\n".to_vec()),
        Fault::Endless => Some(answers::endless()),
        Fault::Slow => {
            std::thread::park_timeout(faults::SLOW);
            Some(machine.answer(request)?)
        }
        Fault::Old => Some(answers::older(&machine.answer(request)?)),
        Fault::Reset => {
            machine.tell("vm", "rebooting", &[])?;
            Some(machine.answer(request)?)
        }
    })
}

/// A request: its head, and as much of a body as the head says.
fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(request) = Request::parse(&bytes) {
            return Ok(Some(request));
        }
        match from.read(&mut buffer)? {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
