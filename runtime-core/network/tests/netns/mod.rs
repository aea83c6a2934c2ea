//! A network namespace like a pod's, and one for what is beyond it, both gone with the value.

#![allow(dead_code)] // Each test binary uses a part.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// A pod's namespace and its peer's.
pub struct Pod {
    name: String,
}

/// A pod whose namespace bears `name`, or `None` and a word about it where there can be none.
pub fn pod(name: &str) -> Option<Pod> {
    let pod = Pod {
        name: format!("imprint-test-{}-{name}", std::process::id()),
    };
    for namespace in [pod.name.clone(), pod.peer()] {
        let made = Command::new("ip")
            .args(["netns", "add", &namespace])
            .output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no network namespace could be made: {made:?}");
            return None;
        }
    }
    pod.ip("link set lo up");
    Some(pod)
}

impl Pod {
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    fn peer(&self) -> String {
        format!("{}-peer", self.name)
    }

    /// An interface `eth0` with the address 10.97.0.2, whose other end, 10.97.0.1, is the peer's.
    pub fn simple(&self) {
        self.ip("link add eth0 type veth peer name host0 netns @peer");
        self.ip("addr add 10.97.0.2/24 dev eth0");
        self.ip("link set eth0 up");
        self.ip_at_peer("addr add 10.97.0.1/24 dev host0");
        self.ip_at_peer("link set host0 up");
    }

    /// `@peer` stands for the peer's namespace.
    pub fn ip(&self, arguments: &str) -> String {
        run(
            "ip",
            &self.name,
            &arguments.replace("@peer", &self.peer()),
            true,
        )
    }

    pub fn try_ip(&self, arguments: &str) -> bool {
        output("ip", &self.name, arguments).status.success()
    }

    pub fn ip_at_peer(&self, arguments: &str) -> String {
        run("ip", &self.peer(), arguments, false)
    }

    pub fn tc(&self, arguments: &str) -> String {
        run("tc", &self.name, arguments, true)
    }

    /// Whether there is no tap and no discipline for incoming packets.
    pub fn is_clean(&self) -> bool {
        let disciplines = self.tc("qdisc");
        !disciplines.contains("ingress")
            && !disciplines.contains("clsact")
            && !self.ip("link").contains("_imprint")
    }

    /// Waits until no tap is left: a child that another test is just starting holds a copy of its
    /// descriptor for a moment.
    pub fn until_no_tap(&self) {
        for _ in 0..100 {
            if !self.ip("link").contains("_imprint") {
                return;
            }
        }
        panic!("a tap is left: {}", self.ip("link"));
    }

    /// Has the peer ask for the hardware address of `ip`.
    pub fn ask_from_peer(&self, ip: &str) {
        let script = format!("echo > /dev/udp/{ip}/9");
        let asked = Command::new("ip")
            .args(["netns", "exec", &self.peer(), "bash", "-c", &script])
            .output()
            .unwrap();
        assert!(asked.status.success(), "{asked:?}");
    }

    /// Does `again` until the peer knows the hardware address of `ip`.
    pub fn until_peer_knows(&self, ip: &str, again: impl Fn()) {
        for _ in 0..50 {
            again();
            let known = self.ip_at_peer("neigh show dev host0");
            if known
                .lines()
                .any(|line| line.contains(ip) && line.contains("lladdr"))
            {
                return;
            }
        }
        panic!(
            "the peer never learned of {ip}: {}",
            self.ip_at_peer("neigh")
        );
    }
}

impl Pod {
    /// The peer pings `address` once.
    pub fn ping(&self, address: &str, more: &[&str]) {
        let mut ping = Command::new("ip");
        ping.args(["netns", "exec", &self.peer(), "busybox", "ping"]);
        ping.args(["-c", "1", "-W", "5"]).args(more).arg(address);
        let output = ping.output().unwrap();
        assert!(
            output.status.success(),
            "ping {more:?} {address}: {output:?}"
        );
    }

    /// Runs a script in the pod's namespace.
    pub fn bash(&self, script: &str) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.name, "timeout", "10"])
            .args(["bash", "-c", script])
            .output()
            .unwrap()
    }

    /// Runs a script until it succeeds; what it wrote then.
    pub fn until_bash(&self, script: &str) -> String {
        let mut last = None;
        for _ in 0..50 {
            let output = self.bash(script);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            last = Some(output);
        }
        panic!("{script}: {last:?}");
    }

    /// The peer connects to a port on which no one listens; whether it was refused.
    pub fn tcp_is_refused(&self, address: &str) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/9");
        let output = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.peer(),
                "timeout",
                "5",
                "bash",
                "-c",
                &script,
            ])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).contains("refused")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for namespace in [self.name.clone(), self.peer()] {
            let _ = Command::new("ip")
                .args(["netns", "del", &namespace])
                .output();
        }
    }
}

fn output(program: &str, namespace: &str, arguments: &str) -> Output {
    let arguments = arguments.split_ascii_whitespace();
    Command::new(program)
        .args(["-n", namespace])
        .args(arguments)
        .output()
        .unwrap()
}

fn run(program: &str, namespace: &str, arguments: &str, must: bool) -> String {
    let output = output(program, namespace, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || !must,
        "{program} {arguments}: {error}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
