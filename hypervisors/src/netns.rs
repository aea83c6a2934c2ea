//! Starts a process in another network namespace: on a thread that has entered it, since a child
//! is born where the thread that made it is (network_namespaces(7)). The thread ends with that.

use std::{fs::File, io, os::fd::AsFd, path::Path, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
};

/// Starts `command` in the network namespace at `netns`, or in the caller's.
pub fn spawn(command: &mut Command, netns: Option<&Path>) -> io::Result<Child> {
    let Some(netns) = netns else {
        return command.spawn();
    };
    let namespace = File::open(netns)?;
    let runtime = Handle::current();
    thread::scope(|scope| {
        let born = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                let _entered = runtime.enter();
                command.spawn()
            })?;
        // Nothing in it panics.
        born.join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })
}
