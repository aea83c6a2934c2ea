//! `-info` and `-v`.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use containerd_shim_protos::{
    protobuf::Message,
    types::introspection::{RuntimeInfo, RuntimeVersion},
};

/// The runtime's type, as containerd's configuration names it.
pub const RUNTIME: &str = "io.containerd.imprint.v2";

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version for a person.
///
/// # Errors
/// Standard output is gone.
pub fn print_version() -> io::Result<()> {
    writeln!(io::stdout(), "containerd-shim-imprint-v2 {VERSION}")
}

/// Prints a `containerd.types.RuntimeInfo`.
///
/// # Errors
/// Standard output is gone.
pub fn print_info() -> io::Result<()> {
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: Some(RuntimeVersion {
            version: VERSION.to_owned(),
            ..Default::default()
        })
        .into(),
        annotations: HashMap::new(),
        ..Default::default()
    };
    let bytes = info.write_to_bytes().map_err(io::Error::other)?;
    let mut stdout = io::stdout();
    stdout.write_all(&bytes)?;
    stdout.flush()
}
