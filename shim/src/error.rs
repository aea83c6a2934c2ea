//! Errors as containerd and its clients get them.

use agent_client::Code as GuestCode;
use assembly::LaunchError;
use containerd_shim_protos::ttrpc::{self, Code};
use network::NetworkError;
use oci::OciError;
use pod::{container, sandbox};
use system::error::chain;

use crate::{options::OptionsError, pod_config::PodConfigError};

/// A Task or Sandbox request that was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod, or one of its containers, could not do it.
    #[error(transparent)]
    Pod(#[from] assembly::Error),
    /// The runtime options cannot be used.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The pod's configuration cannot be used.
    #[error(transparent)]
    PodConfig(#[from] PodConfigError),
    /// No sandbox, so no such task.
    #[error("Task {0:?} was not found")]
    NoTask(String),
    /// There is a sandbox already, or one is being made.
    #[error("Sandbox already exists")]
    SecondSandbox,
    /// The client that asked for the sandbox was gone when it was made. It was ended again.
    #[error("Creating the sandbox was cancelled")]
    Cancelled,
    /// A pod's container came before its pod.
    #[error("Sandbox {0:?} is not in this shim")]
    NoSandbox(String),
    /// A request that no version of this shim fulfils.
    #[error("{0} is not implemented")]
    Unimplemented(&'static str),
    /// The work behind a request was lost.
    #[error("{0} was interrupted")]
    Lost(&'static str),
}

impl From<sandbox::Error> for Error {
    fn from(error: sandbox::Error) -> Self {
        Self::Pod(error.into())
    }
}

impl From<OciError> for Error {
    fn from(error: OciError) -> Self {
        Self::Pod(error.into())
    }
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        Self::RpcStatus(ttrpc::get_status(code(&error), chain(&error)))
    }
}

/// The status code of an error. Here and in [`pod_code`] each error has its line.
fn code(error: &Error) -> Code {
    match error {
        Error::Pod(error) => pod_code(error),
        Error::Options(_) | Error::PodConfig(_) => Code::INVALID_ARGUMENT,
        Error::NoTask(_) => Code::NOT_FOUND,
        Error::SecondSandbox => Code::ALREADY_EXISTS,
        Error::NoSandbox(_) => Code::FAILED_PRECONDITION,
        Error::Unimplemented(_) => Code::UNIMPLEMENTED,
        Error::Cancelled | Error::Lost(_) => Code::UNKNOWN,
    }
}

fn pod_code(error: &assembly::Error) -> Code {
    use assembly::Error as P;
    use container::Error as C;
    use sandbox::Error as S;
    match error {
        P::OutOfMemory { source, .. } => pod_code(source),
        P::Sandbox(S::Agent { source, .. } | S::Container(C::Agent { source, .. })) => {
            agent_code(source)
        }
        P::Sandbox(S::NotFound(_) | S::NoProcess { .. }) => Code::NOT_FOUND,
        P::Sandbox(S::AlreadyExists(_)) => Code::ALREADY_EXISTS,
        P::Sandbox(S::WrongPhase { .. }) | P::Gone(_) => Code::FAILED_PRECONDITION,
        P::Sandbox(S::Ended(_)) => Code::UNAVAILABLE,
        P::Sandbox(S::Container(C::Unsupported(_))) => Code::UNIMPLEMENTED,
        P::Sandbox(S::Container(C::Volume(error))) if !error.is_refusal() => Code::UNKNOWN,
        P::Sandbox(S::Container(C::Volume(_) | C::Spec(_)) | S::Stdio(_) | S::Stream { .. })
        | P::Spec(_)
        | P::Annotation(_)
        | P::Launch(LaunchError::Config(_))
        | P::Network(NetworkError::HostNetwork) => Code::INVALID_ARGUMENT,
        P::Sandbox(S::Container(C::Vm { .. }) | S::Resize(_))
        | P::Launch(LaunchError::Vmm(_) | LaunchError::Start(_))
        | P::SharedFiles { .. }
        | P::Rootfs(_)
        | P::Network(_)
        | P::Cgroup(_)
        | P::State(_)
        | P::Pid { .. }
        | P::ContainerCancelled(_) => Code::UNKNOWN,
    }
}

/// An agent's own words for what containerd acts on; any other is an error of the guest.
fn agent_code(error: &agent_client::Error) -> Code {
    match error.code() {
        Some(GuestCode::NOT_FOUND) => Code::NOT_FOUND,
        Some(GuestCode::INVALID_ARGUMENT) => Code::INVALID_ARGUMENT,
        Some(GuestCode::UNIMPLEMENTED) => Code::UNIMPLEMENTED,
        Some(_) | None => Code::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod::process::TaskId;

    #[test]
    fn codes_are_those_containerd_acts_on() {
        let not_found = || sandbox::Error::NotFound(TaskId::new("a", ""));
        let of_guest = |code| agent_client::Error::Rpc {
            call: "CreateContainer",
            code,
            message: String::new(),
        };
        let container = |error| sandbox::Error::Container(error).into();
        for (error, expected) in [
            (not_found().into(), Code::NOT_FOUND),
            (
                sandbox::Error::Ended(String::new()).into(),
                Code::UNAVAILABLE,
            ),
            (
                container(container::Error::Unsupported("It")),
                Code::UNIMPLEMENTED,
            ),
            (
                container(container::Error::Agent {
                    action: "Creating the container",
                    source: of_guest(GuestCode::INVALID_ARGUMENT),
                }),
                Code::INVALID_ARGUMENT,
            ),
            (
                assembly::Error::from(NetworkError::HostNetwork).into(),
                Code::INVALID_ARGUMENT,
            ),
            (
                assembly::Error::from(NetworkError::Lost).into(),
                Code::UNKNOWN,
            ),
            (Error::Unimplemented("Checkpoint"), Code::UNIMPLEMENTED),
            (Error::SecondSandbox, Code::ALREADY_EXISTS),
        ] {
            assert_eq!(code(&error), expected, "{error:?}");
        }
    }
}
