//! What containerd tells those who listen.

use std::time::Duration;

use playground::{
    Error, Result,
    ctr::{Ctr, NAMESPACE},
    running::Running,
};

/// Attempts to be heard by a listener that is only just connecting.
const ATTEMPTS: usize = 50;

/// A listener for containerd's events.
#[derive(Debug)]
pub struct Events {
    listener: Running,
}

impl Events {
    /// Starts to listen; what happens after this returned is heard.
    pub fn listen(ctr: &Ctr) -> Result<Self> {
        let mut listener = ctr.call(&["events"]).start()?;
        for attempt in 0..ATTEMPTS {
            // The client does not say when it listens: it is known once it tells of something.
            let label = format!("imprint=listening-{attempt}");
            ctr.call(&["namespace", "label", NAMESPACE, &label])
                .succeed()?;
            match listener.read_until_within("listening-", Duration::from_millis(200)) {
                Ok(()) => return Ok(Self { listener }),
                Err(Error::Timeout { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unexpected(
            "The listener for events heard nothing".to_owned(),
        ))
    }

    /// Waits for an event about a container.
    pub fn wait_for(&mut self, topic: &str, id: &str) -> Result<()> {
        let start = format!("{topic} {{\"container_id\":\"{id}\"");
        self.listener.read_until(&start)
    }

    /// The topics of all events about a container's task so far, in order.
    #[must_use]
    pub fn topics(&self, id: &str) -> Vec<String> {
        let output = self.listener.output();
        let about = output.lines().filter(|line| line.contains(id));
        let topics = about.filter_map(|line| line.split(' ').find(|w| w.starts_with("/tasks/")));
        topics.map(str::to_owned).collect()
    }
}
