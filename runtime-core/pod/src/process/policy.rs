//! Which request a process accepts in which phase: the whole life-cycle policy of a pod.
//!
//! A *process* is a container's init or an exec. A phase ending in "-ing" (except Running) lasts as
//! long as one call to the agent; requests wait for the end of that call.
//!
//! ```text
//!   init:  Creating --> Created --Start--> Starting --> Running --Pause--> Pausing --> Paused
//!              |           |                  |          ^  |                            |
//!              v           |                  v          |  |exit                        |
//!          (never was)     |Terminate     (Created)      |  v                            |
//!                          v                         Resuming <---------Resume-----------+
//!                       Ending                           :
//!                          v                             :
//!                       Stopped <----- exit, or the VM ended (255) -- from any phase
//!                          |
//!                        Delete --> Deleting --> (gone)
//!
//!   exec:  Created --Start--> Starting --> Running --exit--> Stopped --Delete--> (gone)
//!             |                  |
//!             +--Delete--> gone  +--failed--> Stopped (255)
//! ```
//!
//! The requests `State` and `Wait` have no verb: they only read what the sandbox's task knows, and
//! are never refused.

use std::fmt;

/// The phase of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The guest is creating the container.
    Creating,
    /// Created (init) or recorded (exec), and not started.
    Created,
    /// The guest is starting it.
    Starting,
    /// Started, and not ended.
    Running,
    /// The guest is freezing the container.
    Pausing,
    /// The container is frozen.
    Paused,
    /// The guest is thawing the container.
    Resuming,
    /// Ended; the exit status is stored.
    Stopped,
    /// Not started, and the guest is asked to end it.
    Ending,
    /// The guest is removing the container.
    Deleting,
}

/// Init of a container, or a process added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The container's first process; stands for the container.
    Init,
    /// A process added to a container.
    Exec,
}

/// What a request asks for, without its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start the process, once.
    Start,
    /// Record a further process in its container.
    AddExec,
    /// Send it a signal that asks it to end (SIGTERM, SIGKILL).
    Terminate,
    /// Send it any other signal.
    Signal,
    /// Freeze all processes of its container.
    Pause,
    /// Thaw all processes of its container.
    Resume,
    /// Change its container's resources.
    Update,
    /// Read its container's counters.
    Stats,
    /// Change its terminal's size.
    Resize,
    /// Close its standard input after the last client.
    CloseStdin,
    /// Forget it and free its resources.
    Delete,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done now.
    Go,
    /// It is done after the call in progress, and after the requests that wait already.
    Later,
    /// Nothing to do: the request succeeds.
    Already,
    /// It cannot be done in this phase.
    Refuse,
    /// The guest does not have the process any more, or not yet.
    Absent,
}

/// Decides what is done with one request.
#[must_use]
pub fn decide(role: Role, phase: Phase, verb: Verb) -> Verdict {
    use Phase::{
        Created, Creating, Deleting, Ending, Paused, Pausing, Resuming, Running, Starting, Stopped,
    };
    use Verb::{
        AddExec, CloseStdin, Delete, Pause, Resize, Resume, Signal, Start, Stats, Terminate, Update,
    };

    if role == Role::Exec && matches!(verb, AddExec | Pause | Resume | Update | Stats) {
        return Verdict::Refuse;
    }
    match (phase, verb) {
        (Creating | Starting | Pausing | Resuming | Ending | Deleting, _) => Verdict::Later,

        (Created, Terminate | Signal) if role == Role::Exec => Verdict::Absent,
        (Created, Pause | Resume) => Verdict::Refuse,
        (Created, _) => Verdict::Go,

        (Running, Start | Resume | Delete) => Verdict::Refuse,
        (Running, _) => Verdict::Go,

        (Paused, Start | AddExec | Pause | Delete) => Verdict::Refuse,
        (Paused, _) => Verdict::Go,

        (Stopped, Delete) => Verdict::Go,
        (Stopped, Terminate | Resize | CloseStdin) => Verdict::Already,
        (Stopped, Signal) => Verdict::Absent,
        (Stopped, Start | AddExec | Pause | Resume | Update | Stats) => Verdict::Refuse,
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "being created",
            Self::Created => "created",
            Self::Starting => "being started",
            Self::Running => "running",
            Self::Pausing => "being paused",
            Self::Paused => "paused",
            Self::Resuming => "being resumed",
            Self::Stopped => "stopped",
            Self::Ending => "being ended",
            Self::Deleting => "being deleted",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "started",
            Self::AddExec => "given another process",
            Self::Terminate | Self::Signal => "signalled",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Update => "updated",
            Self::Stats => "measured",
            Self::Resize => "resized",
            Self::CloseStdin => "cut off from its input",
            Self::Delete => "deleted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 10] = [
        Phase::Creating,
        Phase::Created,
        Phase::Starting,
        Phase::Running,
        Phase::Pausing,
        Phase::Paused,
        Phase::Resuming,
        Phase::Stopped,
        Phase::Ending,
        Phase::Deleting,
    ];

    const VERBS: [Verb; 11] = [
        Verb::Start,
        Verb::AddExec,
        Verb::Terminate,
        Verb::Signal,
        Verb::Pause,
        Verb::Resume,
        Verb::Update,
        Verb::Stats,
        Verb::Resize,
        Verb::CloseStdin,
        Verb::Delete,
    ];

    fn row(role: Role, phase: Phase) -> String {
        VERBS
            .iter()
            .map(|verb| match decide(role, phase, *verb) {
                Verdict::Go => 'G',
                Verdict::Later => 'L',
                Verdict::Already => 'A',
                Verdict::Refuse => 'r',
                Verdict::Absent => '-',
            })
            .collect()
    }

    /// Columns: Start AddExec Terminate Signal Pause Resume Update Stats Resize CloseStdin Delete.
    #[test]
    fn every_cell_of_the_table_is_as_written_here() {
        let init = [
            (Phase::Creating, "LLLLLLLLLLL"),
            (Phase::Created, "GGGGrrGGGGG"),
            (Phase::Starting, "LLLLLLLLLLL"),
            (Phase::Running, "rGGGGrGGGGr"),
            (Phase::Pausing, "LLLLLLLLLLL"),
            (Phase::Paused, "rrGGrGGGGGr"),
            (Phase::Resuming, "LLLLLLLLLLL"),
            (Phase::Stopped, "rrA-rrrrAAG"),
            (Phase::Ending, "LLLLLLLLLLL"),
            (Phase::Deleting, "LLLLLLLLLLL"),
        ];
        let exec = [
            (Phase::Creating, "LrLLrrrrLLL"),
            (Phase::Created, "Gr--rrrrGGG"),
            (Phase::Starting, "LrLLrrrrLLL"),
            (Phase::Running, "rrGGrrrrGGr"),
            (Phase::Pausing, "LrLLrrrrLLL"),
            (Phase::Paused, "rrGGrrrrGGr"),
            (Phase::Resuming, "LrLLrrrrLLL"),
            (Phase::Stopped, "rrA-rrrrAAG"),
            (Phase::Ending, "LrLLrrrrLLL"),
            (Phase::Deleting, "LrLLrrrrLLL"),
        ];
        for (role, table) in [(Role::Init, init), (Role::Exec, exec)] {
            assert_eq!(table.map(|(phase, _)| phase), PHASES, "{role:?}");
            for (phase, expected) in table {
                assert_eq!(row(role, phase), expected, "{role:?} {phase:?}");
            }
        }
    }

    #[test]
    fn a_process_can_be_ended_or_deleted_in_every_settled_phase() {
        for phase in PHASES {
            let end = decide(Role::Init, phase, Verb::Terminate);
            let delete = decide(Role::Init, phase, Verb::Delete);
            assert!(
                matches!(end, Verdict::Go | Verdict::Later | Verdict::Already)
                    || delete == Verdict::Go,
                "{phase:?} is a dead end"
            );
        }
    }
}
