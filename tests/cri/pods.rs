//! Pods: made, asked about, shared by their containers, stopped, removed.

use std::path::Path;

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Kubelet, Pod, api},
    ensure,
    node::Node,
};

/// Stays, and ends at SIGTERM with 0.
pub const SERVICE: &str = "trap 'exit 0' TERM; echo up; sleep 1000 & wait";

/// Namespace modes of the CRI.
pub const POD: i32 = 0;
pub const CONTAINER: i32 = 1;
pub const NODE: i32 = 2;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "pods::an_init_container_then_two_side_by_side",
            side_by_side,
        ),
        Case::new("pods::names_dns_sysctls_and_shm_are_as_asked", surroundings),
        Case::new("pods::processes_are_shared_when_asked", shared_processes),
        Case::new("pods::stop_and_remove_may_be_said_twice", idempotent),
        Case::new("pods::a_name_is_taken_once", duplicates),
        Case::new("pods::the_network_of_the_host_is_refused", host_network),
    ]
}

/// A mount of a path of the host.
pub fn mount(host: &Path, container: &str) -> api::Mount {
    let mut mount = api::Mount::new();
    mount.host_path = host.to_string_lossy().into_owned();
    container.clone_into(&mut mount.container_path);
    mount
}

/// Compares, and tells both on a difference.
pub fn same(what: &str, seen: &str, expected: &str) -> Result<()> {
    ensure!(
        seen.trim_end() == expected,
        "{what}: {seen:?} instead of {expected:?}"
    );
    Ok(())
}

/// A service in the pod, as most scenarios need one.
pub fn service<'a>(pod: &Pod<'a>) -> Result<playground::cri::Container<'a>> {
    let container = pod.start("service", SERVICE)?;
    container.logged("up")?;
    Ok(container)
}

fn side_by_side(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("pair")?;
    let status = pod.status()?;
    ensure!(status.state == 0, "The pod is not ready: {status}");
    ensure!(status.created_at > 0, "{status}");
    let shared = pod.volume("kubernetes.io~empty-dir", "work")?;
    let volume = |config: &mut api::ContainerConfig| {
        let mut mount = api::Mount::new();
        mount.host_path = shared.to_string_lossy().into_owned();
        mount.container_path = "/both".to_owned();
        config.mounts.push(mount);
    };
    let init = pod.start_with("init", "echo made-by-init > /both/file", volume)?;
    let ended = init.ended()?;
    ensure!(ended.exit_code == 0, "{ended} {:?}", init.log());
    let one = pod.start_with("one", SERVICE, volume)?;
    let two = pod.start_with("two", SERVICE, volume)?;
    one.logged("up")?;
    two.logged("up")?;
    same(
        "The init container's file",
        &one.shell("cat /both/file")?,
        "made-by-init",
    )?;
    two.shell("echo from-two > /both/two")?;
    same("The other's file", &one.shell("cat /both/two")?, "from-two")?;
    // The network is one: what the one listens on, the other reaches on the loopback.
    one.shell("(echo over-loopback | nc -l -p 4000 >/dev/null 2>&1 &) ; true")?;
    let heard =
        two.shell("for i in 1 2 3 4 5 6 7 8; do nc -w 5 127.0.0.1 4000 </dev/null && break; done")?;
    same("The other's port", &heard, "over-loopback")?;
    // Two root file systems, two process trees.
    one.shell("echo own > /only-in-one")?;
    same(
        "Files",
        &two.shell("ls /only-in-one 2>/dev/null; true")?,
        "",
    )?;
    let processes = one.shell("ps")?;
    ensure!(processes.contains("sleep 1000"), "{processes}");
    pod.remove()?;
    ensure!(
        kubelet.cri().pods()?.is_empty(),
        "Pods are listed that were removed"
    );
    Ok(())
}

fn surroundings(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run_with("named", |config| {
        config.hostname = "a-host-name".to_owned();
        let dns = config.dns_config.mut_or_insert_default();
        dns.servers = vec!["10.9.8.7".to_owned()];
        dns.searches = vec!["ns.svc.cluster.local".to_owned()];
        dns.options = vec!["ndots:5".to_owned()];
        let linux = config.linux.mut_or_insert_default();
        linux.sysctls = [
            ("kernel.shm_rmid_forced", "1"),
            ("net.ipv4.ip_unprivileged_port_start", "80"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    })?;
    let container = pod.start_with("named", SERVICE, |config| {
        config.working_dir = "/tmp".to_owned();
        let mut colour = api::KeyValue::new();
        "COLOUR".clone_into(&mut colour.key);
        "light blue".clone_into(&mut colour.value);
        config.envs.push(colour);
    })?;
    let shell = |script: &str| container.shell(script);
    same("hostname", &shell("hostname")?, "a-host-name")?;
    same("/etc/hostname", &shell("cat /etc/hostname")?, "a-host-name")?;
    let resolv = shell("cat /etc/resolv.conf")?;
    for line in [
        "nameserver 10.9.8.7",
        "search ns.svc.cluster.local",
        "options ndots:5",
    ] {
        ensure!(resolv.contains(line), "No {line:?} in {resolv:?}");
    }
    same(
        "shm_rmid_forced",
        &shell("cat /proc/sys/kernel/shm_rmid_forced")?,
        "1",
    )?;
    same(
        "ip_unprivileged_port_start",
        &shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start")?,
        "80",
    )?;
    let shm = shell(
        "mount | grep ' /dev/shm '; df -k /dev/shm | tail -1; echo x > /dev/shm/x && \
            cat /dev/shm/x",
    )?;
    ensure!(
        shm.contains("tmpfs") && shm.ends_with("x\n"),
        "/dev/shm: {shm:?}"
    );
    same(
        "Environment and directory",
        &shell("tr '\\0' '\\n' </proc/1/environ | grep COLOUR; readlink /proc/1/cwd")?,
        "COLOUR=light blue\n/tmp",
    )?;
    let other = pod.start("other", SERVICE)?;
    same("/dev/shm of another", &other.shell("cat /dev/shm/x")?, "x")?;
    pod.remove()
}

fn shared_processes(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    for (mode, expected) in [(POD, true), (CONTAINER, false)] {
        let options = move || {
            let mut options = api::NamespaceOption::new();
            options.pid = mode;
            options
        };
        let pod = kubelet.run_with("shared", |config| {
            let linux = config.linux.mut_or_insert_default();
            let context = linux.security_context.mut_or_insert_default();
            context.namespace_options = protobuf::MessageField::some(options());
        })?;
        let context = |config: &mut api::ContainerConfig| {
            let linux = config.linux.mut_or_insert_default();
            let context = linux.security_context.mut_or_insert_default();
            context.namespace_options = protobuf::MessageField::some(options());
        };
        let one = pod.start_with("one", "exec sleep 1111", context)?;
        let two = pod.start_with("two", "exec sleep 2222", context)?;
        let seen = two.shell("ps")?;
        ensure!(seen.contains("sleep 2222"), "{seen}");
        ensure!(
            seen.contains("sleep 1111") == expected,
            "Processes shared, {expected} was asked for: {seen}"
        );
        let first = two.shell("tr '\\0' ' ' </proc/1/cmdline")?;
        ensure!(
            first.contains("2222") != expected,
            "The first process, shared {expected}: {first}"
        );
        one.stop(0)?;
        two.stop(0)?;
        pod.remove()?;
    }
    Ok(())
}

fn duplicates(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("name")?;
    let reserved = |refusal: Result<()>| {
        let text = refusal.map_or_else(|error| error.to_string(), |()| "taken twice".to_owned());
        ensure!(text.contains("is reserved"), "{text}");
        Ok(())
    };
    reserved(pod.run_again().map(drop))?;
    let container = service(&pod)?;
    reserved(pod.create("service", SERVICE, |_| ()).map(drop))?;
    same("The first one", &container.shell("echo runs")?, "runs")?;
    pod.remove()
}

fn idempotent(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let cri = kubelet.cri();
    let pod = kubelet.run("twice")?;
    let container = service(&pod)?;
    for _ in 0..2 {
        container.stop(5)?;
    }
    let status = container.status()?;
    ensure!(status.state == 2 && status.exit_code == 0, "{status}");
    for _ in 0..2 {
        container.remove()?;
    }
    ensure!(
        container.status().is_err(),
        "A removed container has a status"
    );
    for _ in 0..2 {
        pod.stop()?;
    }
    let status = pod.status()?;
    ensure!(status.state == 1, "A stopped pod is ready: {status}");
    let id = pod.id().to_owned();
    for _ in 0..2 {
        cri.remove_pod(&id)?;
    }
    pod.was_removed();
    // What is not known may be removed. This containerd does not take the stop; kubelet knows that.
    let stopped = cri.stop_pod("no-such-pod");
    ensure!(
        matches!(stopped, Ok(()) | Err(Error::Rpc { code: 5, .. })),
        "{stopped:?}"
    );
    cri.remove_pod("no-such-pod")?;
    cri.remove("no-such-container")?;
    let unknown = [
        cri.pod_status("no-such-pod").map(drop),
        cri.status("no-such-container").map(drop),
    ];
    for answer in unknown {
        ensure!(
            matches!(answer, Err(Error::Rpc { code: 5, .. })),
            "{answer:?}"
        );
    }
    Ok(())
}

/// A VM has no part in the host's network: a pod that wants it is told so, and leaves nothing.
fn host_network(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    if !kubelet.is_imprint() {
        return Ok(());
    }
    if kubelet.asks_for_sandboxes() {
        return Err(Error::Unavailable {
            what: "a pod in the node's network by the sandbox API".to_owned(),
            reason: "containerd 2.1.9 ends in a panic before it asks the runtime".to_owned(),
        });
    }
    let refused = kubelet.run_with("node", |config| {
        let linux = config.linux.mut_or_insert_default();
        let context = linux.security_context.mut_or_insert_default();
        context.namespace_options.mut_or_insert_default().network = NODE;
    });
    let Err(error) = refused else {
        return Err(Error::Unexpected("It was given a pod".to_owned()));
    };
    let told = error.to_string();
    ensure!(told.contains("network"), "{told}");
    println!("    {told}");
    let left = kubelet.cri().pods()?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
