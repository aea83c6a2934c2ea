//! The pod's network: its address, its neighbours, the host, and a forwarded port.

use std::{fs, io::Read, net::TcpStream, path::Path, time::Duration};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Channel, Container, Kubelet, Pod, Session, api},
    ensure,
    node::Node,
    program::Program,
    wait::Deadline,
};

use crate::pods::{SERVICE, same, service};

/// A second network, of both families, beside the first.
const SECOND: &str = r#"{"cniVersion": "0.4.0", "name": "imprint-second", "plugins": [
  {"type": "bridge", "bridge": "imprint1", "promiscMode": true,
    "ipam": {"type": "host-local", "dataDir": "DIRECTORY/cni/ipam",
             "ranges": [[{"subnet": "10.214.7.0/24"}], [{"subnet": "fd21:4::/64"}]]}}
]}
"#;

/// Answers every connection with a line.
const SERVER: &str = "while :; do echo hello-from-$(hostname) | nc -l -p 8080; done";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("network::pods_reach_each_other_and_the_host", reach),
        Case::new("network::a_port_is_forwarded", port_forward),
        Case::new("network::two_interfaces_and_both_families", two_networks),
    ]
}

fn greeting(ip: &str) -> Result<String> {
    let connect = || TcpStream::connect((ip, 8080));
    // The server may be between two connections.
    let stream = (0..20).find_map(|_| connect().ok());
    let mut stream = stream
        .map_or_else(connect, Ok)
        .map_err(Error::io("Connecting to", ip))?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(Error::io("Waiting for", ip))?;
    let mut text = [0; 64];
    let count = stream
        .read(&mut text)
        .map_err(Error::io("Reading from", ip))?;
    Ok(String::from_utf8_lossy(&text[..count]).into_owned())
}

fn reach(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let (one, two) = (kubelet.run("pod-one")?, kubelet.run("pod-two")?);
    let (ip, other) = (one.ip()?, two.ip()?);
    ensure!(!ip.is_empty() && ip != other, "{ip:?} {other:?}");
    let server = one.start("server", &format!("echo up; {SERVER}"))?;
    server.logged("up")?;
    let client = service(&two)?;
    let address = client.shell("ip -4 -o addr show dev eth0")?;
    ensure!(address.contains(&other), "{other} is not in {address}");
    let routes = client.shell("ip route")?;
    ensure!(routes.contains("default via"), "{routes}");
    let gateway = routes
        .split_whitespace()
        .skip_while(|word| *word != "via")
        .nth(1)
        .unwrap_or_default();
    client.shell(&format!("ping -c 2 -W 5 {ip}"))?;
    client.shell(&format!("ping -c 2 -W 5 {gateway}"))?;
    let heard = client.shell(&format!(
        "for i in $(seq 20); do nc -w 5 {ip} 8080 </dev/null && break; done"
    ))?;
    same("From pod to pod", &heard, "hello-from-pod-one")?;
    Program::new("busybox")
        .args(["ping", "-c", "2", "-W", "5", &other])
        .succeed()?;
    same("From host to pod", &greeting(&ip)?, "hello-from-pod-one")?;
    // A packet of the full size, so that the MTU is what the other side thinks.
    client.shell(&format!("ping -c 1 -W 5 -s 1472 {ip}"))?;
    two.remove()?;
    one.remove()
}

fn port_forward(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("forward")?;
    let server = pod.start("server", &format!("echo up; {SERVER}"))?;
    server.logged("up")?;
    // The first connection is the one that counts: nobody tries a second time.
    server.shell(
        "for i in $(seq 100); do netstat -ltn | grep -q ':8080 ' && exit 0; sleep 0.1; \
        done; exit 1",
    )?;
    let url = kubelet.cri().port_forward(pod.id(), 8080)?;
    let mut session = Session::open(&url, Deadline::after(Duration::from_secs(15)))?;
    // The channels are those of the first port: 0 its bytes, 1 its errors.
    session.read_until(Channel::Stdin, "hello-from-forward")?;
    pod.remove()
}

/// Waits until containerd has read, or dropped, the second network: it watches its directory.
fn known(kubelet: &Kubelet, wanted: bool) -> Result<()> {
    let deadline = Deadline::after(Duration::from_secs(20));
    loop {
        let info = kubelet.cri().info()?;
        let networks = info
            .get("cniconfig")
            .map(String::as_str)
            .unwrap_or_default();
        if networks.contains("imprint-second") == wanted {
            return Ok(());
        }
        ensure!(
            !deadline.left().is_zero(),
            "The networks stay as they are: {networks}"
        );
    }
}

fn two_networks(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let path = node.directory().join("cni/20-second.conflist");
    let text = SECOND.replace("DIRECTORY", &node.directory().display().to_string());
    fs::write(&path, text).map_err(Error::io("Writing", &path))?;
    let outcome = known(&kubelet, true).and_then(|()| on_two_networks(&kubelet));
    let undone = undo_second(&kubelet, &path);
    outcome.and(undone)
}

fn undo_second(kubelet: &Kubelet, path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(Error::io("Removing", path))?;
    let bridge = Program::new("ip").args(["link", "del", "imprint1"]);
    let _ = bridge.run()?;
    known(kubelet, false)
}

/// An address of an interface in the pod.
fn address(container: &Container<'_>, family: &str, interface: &str) -> Result<String> {
    let text = container.shell(&format!(
        "ip {family} -o addr show dev {interface} scope global"
    ))?;
    let mut words = text
        .split_whitespace()
        .skip_while(|word| !word.starts_with("inet"));
    let address = words.nth(1).and_then(|word| word.split('/').next());
    let none = || Error::Unexpected(format!("{interface} has no address: {text:?}"));
    address.map(str::to_owned).ok_or_else(none)
}

fn on_two_networks(kubelet: &Kubelet) -> Result<()> {
    let router = |config: &mut api::PodSandboxConfig| {
        let linux = config.linux.mut_or_insert_default();
        let forward = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
        linux.sysctls.extend([forward]);
    };
    let pods = [
        kubelet.run("first")?,
        kubelet.run("second")?,
        kubelet.run_with("router", router)?,
    ];
    let server = pods[1].start("server", &format!("echo up; {SERVER}"))?;
    server.logged("up")?;
    let client = pods[0].start_with("client", SERVICE, |config| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        let add = &mut context
            .capabilities
            .mut_or_insert_default()
            .add_capabilities;
        add.push("NET_ADMIN".to_owned());
    })?;
    client.logged("up")?;
    let hop = service(&pods[2])?;
    for family in ["-4", "-6"] {
        let other = address(&server, family, "eth1")?;
        client.shell(&format!("ping {family} -c 2 -W 5 {other}"))?;
        let heard = client.shell(&format!(
            "for i in $(seq 20); do nc -w 5 {other} 8080 </dev/null && break; done"
        ))?;
        same("Over the second network", &heard, "hello-from-second")?;
    }
    // To the server's first interface by way of the router's second.
    let (target, via) = (
        address(&server, "-4", "eth0")?,
        address(&hop, "-4", "eth1")?,
    );
    client.shell(&format!("ip route add {target}/32 via {via}"))?;
    client.shell(&format!("ping -c 2 -W 5 {target}"))?;
    let counters = hop.shell("grep ^Ip: /proc/net/snmp | tail -n 1")?;
    let forwarded = counters.split_whitespace().nth(6).unwrap_or("0");
    ensure!(forwarded != "0", "Nothing was forwarded: {counters}");
    pods.into_iter().try_for_each(Pod::remove)
}
