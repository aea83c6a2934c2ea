//! Kernel parameters that must be set after the network is configured.

use oci_spec::runtime::Spec;

/// Prefixes of parameters that each interface has, or that new interfaces get (ip-sysctl in the
/// kernel's documentation). If one is set before the interfaces exist, it is lost or refused, or
/// prevents that addresses are set.
const OF_INTERFACES: [&str; 4] = [
    "net.ipv4.conf.",
    "net.ipv6.conf.",
    "net.ipv4.neigh.",
    "net.ipv6.neigh.",
];

/// Whether a container sets kernel parameters of network interfaces.
pub fn sets_interfaces(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let parameters = linux.and_then(|linux| linux.sysctl().as_ref());
    let mut names = parameters.into_iter().flat_map(|all| all.keys());
    names.any(|name| is_of_interfaces(name))
}

/// Like sysctl(8), accepts a name with slashes too.
fn is_of_interfaces(name: &str) -> bool {
    let name = name.replace('/', ".");
    OF_INTERFACES.iter().any(|kind| name.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_interfaces_wait_for_them() {
        for name in [
            "net.ipv6.conf.all.disable_ipv6",
            "net/ipv4/conf/eth0/rp_filter",
            "net.ipv4.conf.eth0/100.rp_filter",
            "net.ipv4.neigh.default.gc_thresh1",
        ] {
            assert!(is_of_interfaces(name), "{name}");
        }
        for name in [
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.ping_group_range",
            "kernel.shmmax",
        ] {
            assert!(!is_of_interfaces(name), "{name}");
        }
    }
}
