//! Real network namespaces, real taps, real traffic control. Needs root and `ip`.

#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod netns;

use std::{
    fs,
    io::Read,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use netns::{Pod, pod};
use network::{Attached, Namespace, NetworkError, attach, detach, forward};

/// Length of the header before each frame (virtio specification, `virtio_net_hdr` without the
/// number of buffers).
const HEADER: usize = 10;

async fn attached(pod: &Pod) -> Result<Attached, NetworkError> {
    attach(&Namespace::open(&pod.path()).unwrap(), None).await
}

async fn detached(pod: &Pod) -> usize {
    let id = Namespace::open(&pod.path()).unwrap().id();
    detach(&pod.path(), id).await.unwrap()
}

#[tokio::test]
async fn interfaces_are_found_with_all_that_belongs_to_them() {
    let Some(pod) = pod("all") else { return };
    pod.ip("link add eth0 mtu 1400 type veth peer name host0 mtu 1400 netns @peer");
    pod.ip("addr add 10.97.0.2/24 dev eth0");
    pod.ip("addr add fd97::2/64 dev eth0 nodad");
    pod.ip("link set eth0 up");
    pod.ip_at_peer("link set host0 up");
    pod.ip("route add 192.0.2.1 dev eth0");
    pod.ip("route add default via 10.97.0.1");
    pod.ip("-6 route add default via fd97::1");
    pod.ip("neigh add 10.97.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent");
    pod.ip("link add net1 type veth peer name host1 netns @peer");
    pod.ip("addr add 10.98.0.2/24 dev net1");
    pod.ip("link add idle type veth peer name host2 netns @peer");
    let made = attached(&pod).await.unwrap();
    let taps: Vec<_> = made.taps.iter().map(|(at, _)| at).collect();
    assert_eq!(taps.len(), 2, "{made:?}");
    assert_eq!(
        (taps[0].link.name.as_str(), taps[0].link.mtu),
        ("eth0", 1400)
    );
    assert_eq!(
        (taps[1].link.name.as_str(), taps[1].link.mtu),
        ("net1", 1500)
    );
    assert_eq!(taps[0].link.kind.as_deref(), Some("veth"));
    let addresses: Vec<String> = taps[0]
        .link
        .addresses
        .iter()
        .map(|own| format!("{}/{}", own.ip, own.prefix))
        .collect();
    assert!(addresses.contains(&"10.97.0.2/24".into()), "{addresses:?}");
    assert!(addresses.contains(&"fd97::2/64".into()), "{addresses:?}");
    assert_eq!(made.found.routes.len(), 3, "{:?}", made.found.routes);
    assert!(
        made.found
            .neighbours
            .iter()
            .any(|one| one.ip.to_string() == "10.97.0.1")
    );
    assert!(
        made.left_out.iter().any(|what| what.contains("idle")),
        "{:?}",
        made.left_out
    );
    assert!(pod.ip("link show tap0_imprint").contains("mtu 1400"));
    assert!(pod.ip("-6 addr show dev tap0_imprint").is_empty());
    drop(made);
    pod.until_no_tap();
}

#[tokio::test]
async fn a_tap_that_was_there_before_is_the_first_interfaces() {
    let Some(pod) = pod("ready") else { return };
    let namespace = Namespace::open(&pod.path()).unwrap();
    let ready = namespace.tap().await.unwrap();
    assert!(pod.ip("link show tap0_imprint").contains("state DOWN"));
    pod.simple();
    pod.ip("link add net1 type veth peer name host1 netns @peer");
    pod.ip("addr add 10.98.0.2/24 dev net1");
    let made = attach(&namespace, Some(ready.clone())).await.unwrap();
    assert!(made.first_was_ready);
    assert!(made.left_out.is_empty(), "{:?}", made.left_out);
    let taps: Vec<_> = made.taps.iter().map(|(_, tap)| tap.name.as_str()).collect();
    assert_eq!(taps, ["tap0_imprint", "tap1_imprint"]);
    assert!(
        pod.tc("filter show dev eth0 ingress")
            .contains("tap0_imprint")
    );
    drop(made);
    // Whoever made it, or the VM that was given it, still has it.
    assert!(pod.ip("link").contains("tap0_imprint"));
    drop(ready);
    pod.until_no_tap();
}

#[tokio::test]
async fn a_nic_has_an_address_of_its_own() {
    let Some(_pod) = pod("idle") else { return };
    let namespace = Namespace::unshared().unwrap();
    let (one, other) = tokio::join!(namespace.tap(), namespace.tap());
    let (one, other) = (one.unwrap().nic(), other.unwrap().nic());
    assert_ne!(one.mac, other.mac);
    let first = u8::from_str_radix(&one.mac[..2], 16).unwrap();
    assert_eq!(first & 3, 2, "{}", one.mac);
}

#[tokio::test]
async fn frames_go_both_ways() {
    let Some(pod) = pod("frames") else { return };
    pod.simple();
    let mut made = attached(&pod).await.unwrap();
    let (at, tap) = made.taps.remove(0);
    // The peer asks who has the pod's address: the question must reach the VM, and an answer the
    // peer.
    pod.ip_at_peer("neigh del 10.97.0.2 dev host0");
    pod.ask_from_peer("10.97.0.2");
    let mut question = read_arp(&tap.descriptor);
    let [sender_mac, sender_ip] = [question[22..28].to_vec(), question[28..32].to_vec()];
    assert_eq!(question[38..42], [10, 97, 0, 2]);
    question[0..6].copy_from_slice(&sender_mac);
    question[6..12].copy_from_slice(&at.link.mac);
    question[21] = 2;
    question[22..28].copy_from_slice(&at.link.mac);
    question[28..32].copy_from_slice(&[10, 97, 0, 2]);
    question[32..38].copy_from_slice(&sender_mac);
    question[38..42].copy_from_slice(&sender_ip);
    let mut answer = vec![0; HEADER];
    answer.extend(question);
    pod.until_peer_knows("10.97.0.2", || {
        nix::unistd::write(&tap.descriptor, &answer).unwrap();
    });
    // The namespace's own stack must not have answered in the VM's place.
    assert!(pod.ip("neigh show dev eth0").trim().is_empty());
}

/// The next question of address resolution, without the header before it.
fn read_arp(tap: &OwnedFd) -> Vec<u8> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut file = fs::File::from(tap.try_clone().unwrap());
    let mut frame = [0; 2048];
    loop {
        let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, PollTimeout::from(5000_u16)),
            Ok(1),
            "no frame came"
        );
        let length = file.read(&mut frame).unwrap();
        let frame = &frame[HEADER..length];
        if frame[12..14] == [0x08, 0x06] {
            return frame.to_vec();
        }
    }
}

#[tokio::test]
async fn nothing_is_waited_for_in_an_empty_namespace() {
    let Some(pod) = pod("empty") else { return };
    let start = Instant::now();
    let made = attached(&pod).await.unwrap();
    assert!(made.taps.is_empty());
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn the_hosts_network_is_refused() {
    let Some(_pod) = pod("host") else { return };
    let error = Namespace::open("/proc/self/ns/net".as_ref()).unwrap_err();
    assert!(
        error.to_string().contains("Host network is not possible"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_namespace_is_said_so() {
    let Some(_pod) = pod("none") else { return };
    let error = Namespace::open("/nonexistent".as_ref()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Opening network namespace /nonexistent failed"
    );
    let error = attach(
        &Namespace::open("/proc/self/ns/uts".as_ref()).unwrap(),
        None,
    )
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Entering network namespace /proc/self/ns/uts failed"
    );
}

#[tokio::test]
async fn a_tunnel_is_refused_and_nothing_is_made() {
    let Some(pod) = pod("tunnel") else { return };
    pod.simple();
    pod.ip("tuntap add mode tun tun9");
    pod.ip("addr add 10.99.0.1/32 dev tun9");
    let error = attached(&pod).await.unwrap_err();
    assert!(error.to_string().contains("tun9"), "{error}");
    assert!(pod.is_clean());
}

#[tokio::test]
async fn everything_is_taken_back_and_may_be_again() {
    let Some(pod) = pod("back") else { return };
    pod.simple();
    let made = attached(&pod).await.unwrap();
    assert!(
        pod.tc("filter show dev eth0 ingress")
            .contains("Egress Redirect")
    );
    drop(made);
    pod.until_no_tap();
    assert!(!pod.is_clean());
    assert_eq!(detached(&pod).await, 1);
    assert!(pod.is_clean(), "{}", pod.tc("qdisc"));
    assert_eq!(detached(&pod).await, 0);
}

#[tokio::test]
async fn what_others_made_stays() {
    let Some(pod) = pod("others") else { return };
    pod.simple();
    pod.tc("qdisc add dev eth0 clsact");
    let theirs = "filter add dev eth0 ingress protocol ip pref 7 u32 match u8 0 0xff flowid 1:1";
    pod.tc(theirs);
    let made = attached(&pod).await.unwrap();
    assert!(
        pod.tc("filter show dev eth0 ingress")
            .contains("Egress Redirect")
    );
    drop(made);
    detached(&pod).await;
    let left = pod.tc("filter show dev eth0 ingress");
    assert!(
        left.contains("pref 7") && !left.contains("Redirect"),
        "{left}"
    );
}

#[tokio::test]
async fn a_second_vm_is_refused_until_the_first_is_gone() {
    let Some(pod) = pod("second") else { return };
    pod.simple();
    let first = attached(&pod).await.unwrap();
    let error = attached(&pod).await.unwrap_err();
    assert!(matches!(error, NetworkError::InUse { .. }), "{error}");
    assert!(
        pod.tc("filter show dev eth0 ingress")
            .contains("tap0_imprint")
    );
    // As after a shim that was killed: the tap is gone, the filter is not.
    drop(first);
    pod.until_no_tap();
    let again = attached(&pod).await.unwrap();
    assert_eq!(again.taps.len(), 1);
    assert!(
        pod.tc("filter show dev eth0 ingress")
            .contains("tap0_imprint")
    );
}

#[tokio::test]
async fn an_own_namespace_is_empty_and_leaves_no_name() {
    let Some(pod) = pod("own") else { return };
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let own = Namespace::unshared().unwrap();
    assert_eq!(fs::read_link("/proc/self/ns/net").unwrap(), host);
    let again = Namespace::open(&own.descriptor_path()).unwrap();
    assert_eq!(again.id(), own.id());
    assert!(attach(&own, None).await.unwrap().taps.is_empty());
    drop(pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_loopback_reach_the_guest() {
    let Some(pod) = pod("forward") else { return };
    let server = tokio::net::TcpListener::bind("127.0.0.9:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let refused: std::net::IpAddr = "127.0.0.10".parse().unwrap();
    let guest = vec![refused, "127.0.0.9".parse().unwrap()];
    let namespace = Namespace::open(&pod.path()).unwrap();
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let forwarding = tokio::spawn(async move { forward(namespace, guest, &log).await });
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, _) = server.accept().await.unwrap();
        let mut word = [0; 5];
        client.read_exact(&mut word).await.unwrap();
        client.write_all(&word).await.unwrap();
    });
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo -n hello >&3 && cat <&3");
    assert_eq!(pod.until_bash(&script), "hello");
    answering.await.unwrap();
    // Nobody listens there: an error, and not an empty answer.
    let nowhere = "exec 3<>/dev/tcp/127.0.0.1/1 && read -r line <&3";
    assert!(!pod.bash(nowhere).status.success());
    forwarding.abort();
    let _ = forwarding.await;
    assert!(!pod.bash(&script).status.success());
}

#[tokio::test]
async fn macvlan_and_ipvlan_are_redirected_too() {
    let Some(pod) = pod("vlans") else { return };
    pod.ip("link add parent type veth peer name far netns @peer");
    for (kind, mode) in [("macvlan", "bridge"), ("ipvlan", "l2")] {
        if !pod.try_ip(&format!(
            "link add {kind}0 link parent type {kind} mode {mode}"
        )) {
            eprintln!("SKIPPED: this kernel has no {kind}");
            continue;
        }
        pod.ip(&format!("addr add 10.97.0.2/24 dev {kind}0"));
        let made = attached(&pod).await.unwrap();
        assert_eq!(made.taps[0].0.link.kind.as_deref(), Some(kind));
        drop(made);
        assert_eq!(detached(&pod).await, 1);
        pod.ip(&format!("link del {kind}0"));
    }
}
