//! A Cloud Hypervisor without a VM: it speaks the real wire format, answers with what a real one
//! answered, and fails where a test wants it to. Tests start it in the real one's place.
//!
//! What a test wants is in the file `faults` beside it: one fault on each line, the name of a call
//! and what goes wrong with it. See `docs/faults.md`. The recorded answers in `clh/` are those of a
//! Cloud Hypervisor v51.1, with other paths.

mod answers;
mod calls;
mod faults;

use std::{
    io::{self, IoSliceMut, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use calls::{Machine, Request};
use faults::{Fault, Faults};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

fn main() -> io::Result<()> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut faults = Faults::beside_this_program()?;
    let mut machine = Machine::default();
    machine.tell("vmm", "starting", &[])?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let Some(request) = read(&stream)? else {
            continue;
        };
        let answer = match faults.take(&request.name) {
            None => machine.answer(&request)?,
            Some(fault) => match broken(fault, &mut machine, &request)? {
                Some(answer) => answer,
                None => continue,
            },
        };
        // The caller may have closed the connection meanwhile.
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
            eprintln!("Error: a test wanted the end");
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

/// A request: its head, as much of a body as the head says, and the descriptors beside them.
fn read(from: &UnixStream) -> io::Result<Option<Request>> {
    let (mut bytes, mut passed) = (Vec::new(), Vec::new());
    let mut buffer = [0; 4096];
    loop {
        if let Some(request) = Request::parse(&bytes, &passed) {
            return Ok(Some(request));
        }
        let mut space = nix::cmsg_space!([i32; 4]);
        let mut into = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(from.as_raw_fd(), &mut into, Some(&mut space), flags)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                passed.extend(fds);
            }
        }
        match message.bytes {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}
