//! Taking a playground away: in the orderly way first, then whatever is still there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use system::encoding::hex;

use crate::{
    Error, Result,
    containerd::{BRIDGE, Containerd, Layout},
    ctr::{Ctr, NAMESPACE},
    playground::Playground,
    proc::Process,
    program::Program,
};

/// Directories that containerd and its shims make outside of the state directory they were given,
/// the deepest first.
const OUTSIDE: [&str; 4] = [
    "/run/containerd/s",
    "/run/containerd/fifo",
    "/run/containerd/runc",
    "/run/containerd",
];

/// Remembers which of the directories outside are not there yet, to remove them in the end.
pub(crate) fn note_absent(layout: &Layout) -> Result<()> {
    let absent: Vec<&str> = OUTSIDE
        .into_iter()
        .filter(|path| !Path::new(path).exists())
        .collect();
    let note = note(layout);
    fs::write(&note, absent.join("\n")).map_err(Error::io("Writing", &note))
}

/// Removes the directories outside that were not there before, if they are empty again.
pub(crate) fn remove_what_was_absent(layout: &Layout) {
    let absent = fs::read_to_string(note(layout)).unwrap_or_default();
    for path in absent.lines().filter(|path| OUTSIDE.contains(path)) {
        // containerd's namespaces leave a directory each in runc's.
        if path.ends_with("/runc") {
            let namespaces = fs::read_dir(path).into_iter().flatten().flatten();
            namespaces.for_each(|entry| drop(fs::remove_dir(entry.path())));
        }
        // One that is not empty is in use, by someone else or by a leak that will be reported.
        let _ = fs::remove_dir(path);
    }
}

fn note(layout: &Layout) -> PathBuf {
    layout.directory.join("absent-before")
}

/// Removes all containers, then ends containerd.
pub(crate) fn stop(containerd: &Containerd, ctr: &Ctr) -> Result<()> {
    let removed = remove_containers(containerd, ctr);
    containerd.stop()?;
    removed
}

fn remove_containers(containerd: &Containerd, ctr: &Ctr) -> Result<()> {
    let mut outcome = Ok(());
    for namespace in ctr.namespaces()? {
        let ctr = Ctr::new(containerd.layout().clone(), &namespace);
        for id in ctr.containers()? {
            outcome = outcome.and(ctr.remove(&id));
        }
    }
    outcome
}

/// Removes what is left of a playground: processes, mounts, sockets, directories. containerd must
/// have been stopped, or is killed here.
pub fn sweep(playground: &Playground, layout: &Layout, ids: &[String]) -> Result<()> {
    for process in Process::all() {
        if process.belongs_to(playground.path()) {
            process.kill()?;
        }
    }
    for id in ids.iter().cloned().chain(bundles(layout)) {
        let _ = fs::remove_file(shim_socket(layout, NAMESPACE, &id));
        remove_fifos(&id);
    }
    if Path::new("/sys/class/net").join(BRIDGE).exists()
        && playground.path().join("cni/ipam").exists()
    {
        Program::new("ip")
            .args(["link", "delete", BRIDGE])
            .succeed()?;
    }
    playground.unmount_all()?;
    remove_what_was_absent(layout);
    playground.remove()
}

/// Removes the fifos that a client made for a container it left running, and no others.
fn remove_fifos(id: &str) {
    let streams = ["stdin", "stdout", "stderr"].map(|stream| format!("{id}-{stream}"));
    for directory in fs::read_dir("/run/containerd/fifo")
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = directory.path();
        if streams.iter().any(|stream| path.join(stream).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Identifiers of the containers whose bundles are still there.
fn bundles(layout: &Layout) -> Vec<String> {
    let directory = layout.directory.join("state/io.containerd.runtime.v2.task");
    let bundles = fs::read_dir(directory.join(NAMESPACE))
        .into_iter()
        .flatten();
    bundles
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Where a shim listens: containerd's `shim.SocketAddress`, the digest of its own address, the
/// namespace and the identifier.
fn shim_socket(layout: &Layout, namespace: &str, id: &str) -> PathBuf {
    let address = layout.socket();
    let digest = Sha256::digest(format!("{}/{namespace}/{id}", address.display()));
    Path::new("/run/containerd/s").join(hex(&digest))
}
