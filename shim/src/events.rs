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
    process::Exit,
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

/// Topic and content of an event. `pid` stands for every process of its container.
pub fn message(event: Event, pid: u32) -> (&'static str, Box<dyn MessageDyn>) {
    match event {
        Event::Created {
            container,
            bundle,
            mounts,
            stdio,
        } => (
            topics::TASK_CREATE_EVENT_TOPIC,
            Box::new(TaskCreate {
                container_id: container,
                bundle: bundle.to_string_lossy().into_owned(),
                rootfs: mounts.into_iter().map(wire_mount).collect(),
                io: Some(wire_io(&stdio)).into(),
                pid,
                ..Default::default()
            }),
        ),
        Event::ExecAdded(id) => (
            topics::TASK_EXEC_ADDED_EVENT_TOPIC,
            Box::new(TaskExecAdded {
                container_id: id.container,
                exec_id: id.exec.unwrap_or_default(),
                ..Default::default()
            }),
        ),
        Event::Started(id) => match id.exec {
            None => (
                topics::TASK_START_EVENT_TOPIC,
                Box::new(TaskStart {
                    container_id: id.container,
                    pid,
                    ..Default::default()
                }),
            ),
            Some(exec_id) => (
                topics::TASK_EXEC_STARTED_EVENT_TOPIC,
                Box::new(TaskExecStarted {
                    container_id: id.container,
                    exec_id,
                    pid,
                    ..Default::default()
                }),
            ),
        },
        Event::Exited(id, exit) => (
            topics::TASK_EXIT_EVENT_TOPIC,
            Box::new(TaskExit {
                id: id.exec.unwrap_or_else(|| id.container.clone()),
                container_id: id.container,
                pid,
                exit_status: exit.status,
                exited_at: exited_at(exit),
                ..Default::default()
            }),
        ),
        Event::Deleted { container, exit } => (
            topics::TASK_DELETE_EVENT_TOPIC,
            Box::new(TaskDelete {
                container_id: container,
                pid,
                exit_status: exit.status,
                exited_at: exited_at(exit),
                ..Default::default()
            }),
        ),
        Event::Paused(container_id) => (
            topics::TASK_PAUSED_EVENT_TOPIC,
            Box::new(TaskPaused {
                container_id,
                ..Default::default()
            }),
        ),
        Event::Resumed(container_id) => (
            topics::TASK_RESUMED_EVENT_TOPIC,
            Box::new(TaskResumed {
                container_id,
                ..Default::default()
            }),
        ),
        Event::OutOfMemory(container_id) => (
            topics::TASK_OOM_EVENT_TOPIC,
            Box::new(TaskOOM {
                container_id,
                ..Default::default()
            }),
        ),
    }
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
