//! The network namespace that pods through the CRI are made in, so that bridges and addresses meet
//! no others.

use std::{fs, path::Path};

use nix::sched::{CloneFlags, unshare};

use crate::{Error, Result, containerd::BRIDGE, program::Program};

/// Where the CNI's library keeps what plugins answered, the deepest first.
const CNI_RESULTS: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni"];

/// A network namespace of this process. Dropped, what its plugins left outside of it is removed;
/// the namespace ends with the process.
#[derive(Debug)]
pub struct OwnNetwork {
    absent: Vec<&'static str>,
}

/// Moves this process into a network namespace of its own, and makes in it what the first pod would
/// otherwise leave for the next. Must be called before the process has a second thread.
pub fn own_network() -> Result<OwnNetwork> {
    let absent = CNI_RESULTS
        .into_iter()
        .filter(|path| !Path::new(path).exists());
    let own = OwnNetwork {
        absent: absent.collect(),
    };
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| Error::Unexpected(format!("No network namespace: {errno}")))?;
    let ip = |words: &[&str]| Program::new("ip").args(words).succeed().map(drop);
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    fs::create_dir_all(CNI_RESULTS[0]).map_err(Error::io("Making", CNI_RESULTS[0]))?;
    Ok(own)
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        for path in &self.absent {
            // One that is not empty is in use by someone else.
            let _ = fs::remove_dir(path);
        }
    }
}
