//! The pod's network: its address, its neighbours, the host, and a forwarded port.

use std::{io::Read, net::TcpStream, time::Duration};

use imprint_tests::{
    Error, Result,
    cri::{Channel, Kubelet, Session},
    ensure,
    node::Node,
    program::Program,
    wait::Deadline,
};

use crate::{
    harness::Case,
    pods::{same, service},
};

/// Answers every connection with a line.
const SERVER: &str = "while :; do echo hello-from-$(hostname) | nc -l -p 8080; done";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("network::pods_reach_each_other_and_the_host", reach),
        Case::new("network::a_port_is_forwarded", port_forward),
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
    server.shell("for i in $(seq 100); do netstat -ltn | grep -q ':8080 ' && exit 0; sleep 0.1; done; exit 1")?;
    let url = kubelet.cri().port_forward(pod.id(), 8080)?;
    let mut session = Session::open(&url, Deadline::after(Duration::from_secs(15)))?;
    // The channels are those of the first port: 0 its bytes, 1 its errors.
    session.read_until(Channel::Stdin, "hello-from-forward")?;
    pod.remove()
}
