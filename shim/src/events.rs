//! A sandbox's events as containerd's messages.

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::{
    events::task::{
        TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskIO, TaskOOM,
        TaskPaused, TaskResumed, TaskStart,
    },
    protobuf::{
        self, MessageDyn,
        well_known_types::{any::Any, timestamp::Timestamp},
    },
    topics,
    types::mount,
};
use pod::{
    io::{Sink, Stdio},
    process::{Exit, TaskId},
    sandbox::Event,
};
use rootfs::Mount;

/// The container that an event is about.
pub fn container(event: &Event) -> &str {
    match event {
        Event::Created { container, .. } | Event::Deleted { container, .. } => container,
        Event::ExecAdded(id) | Event::Started(id) | Event::Exited(id, _) => &id.container,
        Event::Paused(container) | Event::Resumed(container) | Event::OutOfMemory(container) => {
            container
        }
    }
}

/// Topic and content, as containerd forwards them.
pub type Message = (&'static str, Box<dyn MessageDyn>);

/// Topic and content of an event. `pid` stands for every process of its container.
pub fn message(event: Event, pid: u32) -> Message {
    match event {
        Event::Created {
            container,
            bundle,
            mounts,
            stdio,
        } => {
            let created = TaskCreate {
                container_id: container,
                bundle: bundle.to_string_lossy().into_owned(),
                rootfs: mounts.into_iter().map(wire_mount).collect(),
                io: Some(wire_io(&stdio)).into(),
                pid,
                ..Default::default()
            };
            (topics::TASK_CREATE_EVENT_TOPIC, Box::new(created))
        }
        Event::ExecAdded(id) => exec_added(id),
        Event::Started(id) => started(id, pid),
        Event::Exited(id, exit) => exited(id, exit, pid),
        Event::Deleted { container, exit } => deleted(container, exit, pid),
        Event::Paused(container) => paused(container),
        Event::Resumed(container) => resumed(container),
        Event::OutOfMemory(container) => out_of_memory(container),
    }
}

fn exec_added(id: TaskId) -> Message {
    let added = TaskExecAdded {
        container_id: id.container,
        exec_id: id.exec.unwrap_or_default(),
        ..Default::default()
    };
    (topics::TASK_EXEC_ADDED_EVENT_TOPIC, Box::new(added))
}

fn started(id: TaskId, pid: u32) -> Message {
    let Some(exec_id) = id.exec else {
        let started = TaskStart {
            container_id: id.container,
            pid,
            ..Default::default()
        };
        return (topics::TASK_START_EVENT_TOPIC, Box::new(started));
    };
    let started = TaskExecStarted {
        container_id: id.container,
        exec_id,
        pid,
        ..Default::default()
    };
    (topics::TASK_EXEC_STARTED_EVENT_TOPIC, Box::new(started))
}

fn exited(id: TaskId, exit: Exit, pid: u32) -> Message {
    let exited = TaskExit {
        id: id.exec.unwrap_or_else(|| id.container.clone()),
        container_id: id.container,
        pid,
        exit_status: exit.status,
        exited_at: exited_at(exit),
        ..Default::default()
    };
    (topics::TASK_EXIT_EVENT_TOPIC, Box::new(exited))
}

fn deleted(container_id: String, exit: Exit, pid: u32) -> Message {
    let deleted = TaskDelete {
        container_id,
        pid,
        exit_status: exit.status,
        exited_at: exited_at(exit),
        ..Default::default()
    };
    (topics::TASK_DELETE_EVENT_TOPIC, Box::new(deleted))
}

fn paused(container_id: String) -> Message {
    let paused = TaskPaused {
        container_id,
        ..Default::default()
    };
    (topics::TASK_PAUSED_EVENT_TOPIC, Box::new(paused))
}

fn resumed(container_id: String) -> Message {
    let resumed = TaskResumed {
        container_id,
        ..Default::default()
    };
    (topics::TASK_RESUMED_EVENT_TOPIC, Box::new(resumed))
}

fn out_of_memory(container_id: String) -> Message {
    let out_of_memory = TaskOOM {
        container_id,
        ..Default::default()
    };
    (topics::TASK_OOM_EVENT_TOPIC, Box::new(out_of_memory))
}

/// Packs a message the way containerd's typeurl names it: without a prefix.
///
/// # Errors
/// The message cannot be encoded.
pub fn any(message: &dyn MessageDyn) -> protobuf::Result<Any> {
    Ok(Any {
        type_url: message.descriptor_dyn().full_name().to_owned(),
        value: message.write_to_bytes_dyn()?,
        ..Default::default()
    })
}

/// A point in time as containerd has it.
pub fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        ..Default::default()
    }
}

/// When a process ended, for an answer or an event.
pub fn exited_at(exit: Exit) -> protobuf::MessageField<Timestamp> {
    Some(timestamp(exit.at)).into()
}

/// A stream's name as it was given.
pub fn stream_name(sink: Option<&Sink>) -> String {
    match sink {
        None => String::new(),
        Some(Sink::Fifo(path)) => path.to_string_lossy().into_owned(),
        Some(Sink::File(path)) => format!("file://{}", path.display()),
    }
}

fn wire_io(stdio: &Stdio) -> TaskIO {
    TaskIO {
        stdin: stdio
            .stdin
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        stdout: stream_name(stdio.stdout.as_ref()),
        stderr: stream_name(stdio.stderr.as_ref()),
        terminal: stdio.terminal,
        ..Default::default()
    }
}

fn wire_mount(mount: Mount) -> mount::Mount {
    mount::Mount {
        type_: mount.fs_type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Default::default()
    }
}
