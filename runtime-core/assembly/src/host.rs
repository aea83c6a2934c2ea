//! What a pod has from the program that opens it.

use std::sync::{Arc, atomic::AtomicBool};

use pod::sandbox::Event;
use slog::Logger;
use tokio::sync::mpsc;

use crate::{launch::Launch, pids::Pids};

/// What a pod has from the program that opens it.
pub struct Host<'a> {
    /// What starts its VM.
    pub launch: &'a dyn Launch,
    /// Where its events go; of [`EVENTS`](pod::sandbox::EVENTS) places.
    pub events: mpsc::Sender<Event>,
    /// The numbers of its containers; of a new pod.
    pub pids: Arc<Pids>,
    /// Is set where the configuration asks for debug messages.
    pub debug: &'a AtomicBool,
    /// The log of all that happens to the pod.
    pub log: &'a Logger,
}
