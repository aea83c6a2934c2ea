//! JSON values in requests for a running container.

use agent_client::oci as wire;
use oci_spec::runtime as host;

use super::{
    OciError, bundle,
    process::guest_process,
    resources::{self, GuestResources},
};

/// The process of an Exec request, from the `Any` in its field `spec`.
pub fn exec_process(type_url: &str, value: &[u8]) -> Result<wire::Process, OciError> {
    expect_type(type_url, "Process")?;
    guest_process(&bundle::parse(value, "The process of the exec request")?)
}

/// The resources of an Update request, as they were sent.
pub fn update_resources(type_url: &str, value: &[u8]) -> Result<host::LinuxResources, OciError> {
    expect_type(type_url, "LinuxResources")?;
    bundle::parse(value, "The resources of the update request")
}

/// Resources reduced to those that a container in a guest can have.
#[must_use]
pub fn guest_limits(host: &host::LinuxResources) -> wire::LinuxResources {
    let GuestResources { resources, .. } = resources::guest_resources(host);
    resources
}

/// containerd names JSON values `types.containerd.io/opencontainers/runtime-spec/<major>/<type>`.
fn expect_type(type_url: &str, expected: &'static str) -> Result<(), OciError> {
    if type_url.contains("opencontainers/runtime-spec/")
        && type_url.rsplit('/').next() == Some(expected)
    {
        Ok(())
    } else {
        Err(OciError::WrongType {
            expected,
            got: type_url.chars().take(200).collect(),
        })
    }
}
