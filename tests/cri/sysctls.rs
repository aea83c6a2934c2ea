//! Kernel parameters of a pod that are about its network: set after it is there, as after a CNI
//! plugin.

use e2e_tests::harness::Case;
use playground::{Result, cri::Kubelet, ensure, node::Node};

use crate::pods::{same, service};

pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "sysctls::of_interfaces_hold_for_those_that_are_there",
        interfaces,
    )]
}

/// What is set, and what is then to be seen.
struct Pod {
    name: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    script: &'static str,
    seen: &'static str,
}

const V6: &str = "for i in lo eth0; do ip -6 -o addr show dev $i | grep -q inet6 && echo $i; done; \
    ip -6 route | grep -c eth0; cd /proc/sys/net; ";

const PODS: [Pod; 2] = [
    Pod {
        name: "none-at-all",
        parameters: &[("net.ipv6.conf.all.disable_ipv6", "1")],
        script: "cat ipv6/conf/eth0/disable_ipv6",
        seen: "0\n1",
    },
    Pod {
        name: "one-interface",
        parameters: &[
            ("net.ipv6.conf.eth0.disable_ipv6", "1"),
            ("net.ipv6.conf.default.disable_ipv6", "1"),
            ("net.ipv4.conf.default.arp_ignore", "1"),
            ("net.ipv4.conf.eth0.arp_announce", "2"),
        ],
        script: "cat ipv4/conf/default/arp_ignore ipv4/conf/eth0/arp_ignore \
            ipv4/conf/eth0/arp_announce",
        seen: "lo\n0\n1\n0\n2",
    },
];

fn interfaces(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    for one in PODS {
        let pod = kubelet.run_with(one.name, |config| {
            let linux = config.linux.mut_or_insert_default();
            for (name, value) in one.parameters {
                linux
                    .sysctls
                    .insert((*name).to_owned(), (*value).to_owned());
            }
        })?;
        let container = service(&pod)?;
        let seen = container.shell(&format!("{V6}{}", one.script))?;
        same(one.name, seen.trim_end(), one.seen)?;
        // IPv4 is as in any pod.
        let address = container.shell("ip -4 -o addr show dev eth0")?;
        ensure!(address.contains(&pod.ip()?), "{address}");
        pod.remove()?;
    }
    Ok(())
}
