//! Which places for attached devices are free.

use super::layout::{BEHIND_BRIDGE, Port};

/// The places for attached devices of one VM, and what is in them: root ports first, then those
/// behind bridges.
#[derive(Debug)]
pub struct Ports {
    places: Vec<State>,
    root_ports: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Free,
    /// Reserved for, or holding, the device of this name.
    Taken(String),
    /// An attach failed half way and could not be undone; what is behind the port is unknown.
    Lost,
}

/// Why no port was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPort {
    /// Every place has a device.
    #[error(
        "All {places} places for devices are taken (pcie_root_port in [hypervisor.qemu] adds \
         places, disk_slots adds room for images)"
    )]
    Full {
        /// How many places there are.
        places: usize,
    },
    /// A device of that name is there.
    #[error("A device with this identifier is already attached")]
    Duplicate,
}

impl Ports {
    /// The places of a VM with so many root ports and bridges, all free.
    pub fn new(root_ports: u32, bridges: u32) -> Self {
        Self {
            places: vec![State::Free; (root_ports + bridges * BEHIND_BRIDGE) as usize],
            root_ports,
        }
    }

    fn port(&self, index: usize) -> Port {
        let index = index as u32;
        match index.checked_sub(self.root_ports) {
            None => Port::nth(index),
            Some(behind) => Port::behind_bridge(behind),
        }
    }

    /// Reserves the first free port for `device`.
    pub fn take(&mut self, device: &str) -> Result<Port, NoPort> {
        if self.find(device).is_some() {
            return Err(NoPort::Duplicate);
        }
        let free = self.places.iter().position(|state| *state == State::Free);
        let index = free.ok_or(NoPort::Full {
            places: self.places.len(),
        })?;
        self.places[index] = State::Taken(device.to_owned());
        Ok(self.port(index))
    }

    /// The port that holds `device`.
    pub fn find(&self, device: &str) -> Option<Port> {
        self.index_of(device).map(|index| self.port(index))
    }

    /// Makes the port of `device` free again. A device that is not there is not an error.
    pub fn release(&mut self, device: &str) {
        self.set(device, State::Free);
    }

    /// Withdraws the port of `device`: it is not used again in this VM.
    pub fn lose(&mut self, device: &str) {
        self.set(device, State::Lost);
    }

    fn set(&mut self, device: &str, state: State) {
        if let Some(index) = self.index_of(device) {
            self.places[index] = state;
        }
    }

    fn index_of(&self, device: &str) -> Option<usize> {
        self.places
            .iter()
            .position(|state| matches!(state, State::Taken(name) if name == device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_in_order_and_reused() {
        let mut ports = Ports::new(2, 2);
        assert_eq!(ports.take("a"), Ok(Port::nth(0)));
        assert_eq!(ports.take("b"), Ok(Port::nth(1)));
        assert_eq!(ports.take("c"), Ok(Port::behind_bridge(0)));
        ports.release("a");
        assert_eq!(ports.take("d"), Ok(Port::nth(0)));
        assert_eq!(ports.find("b"), Some(Port::nth(1)));
        assert_eq!(ports.find("c"), Some(Port::behind_bridge(0)));
        assert_eq!(ports.find("a"), None);
    }

    #[test]
    fn a_vm_that_is_full_says_what_adds_places() {
        let mut ports = Ports::new(1, 2);
        for number in 0..63 {
            ports.take(&number.to_string()).unwrap();
        }
        let full = ports.take("more").unwrap_err();
        assert_eq!(full, NoPort::Full { places: 63 });
        assert!(full.to_string().contains("pcie_root_port"), "{full}");
    }

    #[test]
    fn one_name_is_given_one_port() {
        let mut ports = Ports::new(2, 2);
        ports.take("a").unwrap();
        assert_eq!(ports.take("a"), Err(NoPort::Duplicate));
    }

    #[test]
    fn a_lost_port_is_not_given_again() {
        let mut ports = Ports::new(1, 2);
        ports.take("a").unwrap();
        ports.lose("a");
        assert_eq!(ports.find("a"), None);
        assert_eq!(ports.take("b"), Ok(Port::behind_bridge(0)));
    }

    #[test]
    fn a_vm_without_ports_says_so() {
        assert_eq!(Ports::new(0, 0).take("a"), Err(NoPort::Full { places: 0 }));
        let mut without_bridges = Ports::new(1, 0);
        assert_eq!(without_bridges.take("a"), Ok(Port::nth(0)));
        assert_eq!(without_bridges.take("b"), Err(NoPort::Full { places: 1 }));
    }

    #[test]
    fn a_path_names_the_slot_of_the_port() {
        assert_eq!(Port::nth(2).path().to_string(), "0a/00");
        assert_eq!(Port::nth(2).bus(), "port-0a");
    }
}
