//! Interfaces without IPv6.
//!
//! A pod can turn off IPv6 by the kernel parameter `net.ipv6.conf.all.disable_ipv6`, or for one
//! interface. The kernel then drops existing addresses and routes and refuses new ones. The host
//! asks for them all the same: on its side the pod's interface still has them.

use std::{fs, path::Path};

/// Where the kernel shows the parameters of each interface.
const PARAMETERS: &str = "/proc/sys/net/ipv6/conf";

/// Whether IPv6 is turned off on the interface `name`.
pub fn is_off(name: &str) -> bool {
    is_off_in(Path::new(PARAMETERS), name)
}

fn is_off_in(parameters: &Path, name: &str) -> bool {
    let file = parameters.join(name).join("disable_ipv6");
    fs::read_to_string(file).is_ok_and(|value| value.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_has_its_own_parameter() {
        let parameters = tempfile::tempdir().unwrap();
        for (name, value) in [("eth0", "1\n"), ("eth1", "0\n")] {
            let directory = parameters.path().join(name);
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("disable_ipv6"), value).unwrap();
        }
        let off = |name| is_off_in(parameters.path(), name);
        assert_eq!(
            [off("eth0"), off("eth1"), off("eth2")],
            [true, false, false]
        );
    }
}
