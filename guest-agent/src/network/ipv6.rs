//! Interfaces without IPv6.
//!
//! A pod may turn it off by a kernel parameter (`net.ipv6.conf.all.disable_ipv6`), for all interfaces or for
//! one. The kernel then drops the addresses and routes that there are and refuses new ones; the host's side,
//! which had them before, still asks for them.

use std::{fs, path::Path};

/// Where the kernel shows the parameters of each interface.
const PARAMETERS: &str = "/proc/sys/net/ipv6/conf";

/// Whether the pod has turned off IPv6 on the interface called `name`.
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
    fn each_interface_says_for_itself() {
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
