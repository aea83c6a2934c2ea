//! What goes wrong, and with which call.

use std::{fs, io, time::Duration};

/// How late a slow answer is.
pub const SLOW: Duration = Duration::from_millis(300);

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error with its causes, as a real one answers.
    Refuse,
    /// The connection is closed without an answer.
    Close,
    /// The VMM says why and ends.
    Exit,
    /// The VMM is gone by a signal.
    Die,
    /// An answer ends within its head.
    HalfHead,
    /// An answer ends before the length that its head says.
    HalfBody,
    /// A whole answer with half of its JSON.
    HalfJson,
    /// Something else than HTTP.
    NoHttp,
    /// An answer longer than any.
    Endless,
    /// An answer that comes late.
    Slow,
    /// The guest resets itself.
    Reset,
    /// A version that is too old.
    Old,
}

/// The faults that are still to come.
pub struct Faults(Vec<(String, Fault)>);

impl Faults {
    /// Those in the file `faults` beside the program; none where there is no such file.
    pub fn beside_this_program() -> io::Result<Self> {
        let file = std::env::current_exe()?.with_file_name("faults");
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let faults = text.lines().filter_map(|line| {
            let (call, fault) = line.split_once(' ')?;
            Some((call.to_owned(), parse(fault)?))
        });
        Ok(Self(faults.collect()))
    }

    /// The next fault of this call: each happens once.
    pub fn take(&mut self, call: &str) -> Option<Fault> {
        let at = self.0.iter().position(|(name, _)| name == call)?;
        Some(self.0.remove(at).1)
    }
}

fn parse(name: &str) -> Option<Fault> {
    Some(match name {
        "refuse" => Fault::Refuse,
        "close" => Fault::Close,
        "exit" => Fault::Exit,
        "die" => Fault::Die,
        "half-head" => Fault::HalfHead,
        "half-body" => Fault::HalfBody,
        "half-json" => Fault::HalfJson,
        "no-http" => Fault::NoHttp,
        "endless" => Fault::Endless,
        "slow" => Fault::Slow,
        "reset" => Fault::Reset,
        "old" => Fault::Old,
        _ => return None,
    })
}
