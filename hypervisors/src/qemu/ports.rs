//! Which root port is free: the book-keeping of plugged devices, without any of the plugging.

use super::layout::Port;

/// The root ports of one VM and what is behind them.
#[derive(Debug)]
pub struct Ports {
    slots: Vec<State>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Reserved for, or holding, the device of this name.
    Taken(String),
    /// A plug went half way and could not be undone; what is behind the port is unknown.
    Lost,
}

/// Why no port was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPort {
    /// Every port has a device.
    #[error("all {ports} PCIe root ports are taken")]
    Full {
        /// How many there are.
        ports: usize,
    },
    /// A device of that name is there.
    #[error("a device with this identifier is already plugged")]
    Duplicate,
}

impl Ports {
    /// `count` free ports.
    pub fn new(count: u32) -> Self {
        Self {
            slots: vec![State::Free; count as usize],
        }
    }

    /// Reserves the first free port for `device`.
    pub fn take(&mut self, device: &str) -> Result<Port, NoPort> {
        if self.find(device).is_some() {
            return Err(NoPort::Duplicate);
        }
        let free = self.slots.iter().position(|state| *state == State::Free);
        let index = free.ok_or(NoPort::Full {
            ports: self.slots.len(),
        })?;
        self.slots[index] = State::Taken(device.to_owned());
        Ok(port(index))
    }

    /// The port that holds `device`.
    pub fn find(&self, device: &str) -> Option<Port> {
        self.index_of(device).map(port)
    }

    /// Makes the port of `device` free again. A device that is not there is not an error.
    pub fn release(&mut self, device: &str) {
        self.set(device, State::Free);
    }

    /// Gives the port of `device` up: it is not used again in this VM.
    pub fn lose(&mut self, device: &str) {
        self.set(device, State::Lost);
    }

    fn set(&mut self, device: &str, state: State) {
        if let Some(index) = self.index_of(device) {
            self.slots[index] = state;
        }
    }

    fn index_of(&self, device: &str) -> Option<usize> {
        self.slots
            .iter()
            .position(|state| matches!(state, State::Taken(name) if name == device))
    }
}

fn port(index: usize) -> Port {
    Port::nth(index as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_in_order_and_reused() {
        let mut ports = Ports::new(2);
        assert_eq!(ports.take("a"), Ok(Port::nth(0)));
        assert_eq!(ports.take("b"), Ok(Port::nth(1)));
        assert_eq!(ports.take("c"), Err(NoPort::Full { ports: 2 }));
        ports.release("a");
        assert_eq!(ports.take("c"), Ok(Port::nth(0)));
        assert_eq!(ports.find("b"), Some(Port::nth(1)));
        assert_eq!(ports.find("a"), None);
    }

    #[test]
    fn one_name_is_given_one_port() {
        let mut ports = Ports::new(2);
        ports.take("a").unwrap();
        assert_eq!(ports.take("a"), Err(NoPort::Duplicate));
    }

    #[test]
    fn a_lost_port_is_not_given_again() {
        let mut ports = Ports::new(1);
        ports.take("a").unwrap();
        ports.lose("a");
        assert_eq!(ports.find("a"), None);
        assert_eq!(ports.take("b"), Err(NoPort::Full { ports: 1 }));
    }

    #[test]
    fn a_vm_without_ports_says_so() {
        assert_eq!(
            Ports::new(0).take("a").unwrap_err().to_string(),
            "all 0 PCIe root ports are taken"
        );
    }

    #[test]
    fn a_path_names_the_slot_of_the_port() {
        assert_eq!(Port::nth(2).path().to_string(), "0a/00");
        assert_eq!(Port::nth(2).bus(), "port-0a");
    }
}
