//! What a container's first process and those beside it get, and how they end.

use std::time::{Duration, Instant};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Channel, Container, Kubelet, Pod, Session, api},
    ensure,
    node::Node,
    wait::Deadline,
};

use crate::pods::{POD, SERVICE, mount, same};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("first_process::streams_belong_to_the_user", streams),
        Case::new("first_process::working_directories_are_made", directories),
        Case::new(
            "first_process::what_cannot_be_executed_is_said",
            not_executed,
        ),
        Case::new("first_process::a_signal_without_a_handler_is_none", signals),
        Case::new("first_process::a_node_opens_no_device", devices),
    ]
}

fn context(config: &mut api::ContainerConfig) -> &mut api::LinuxContainerSecurityContext {
    let linux = config.linux.mut_or_insert_default();
    linux.security_context.mut_or_insert_default()
}

fn as_user(config: &mut api::ContainerConfig) {
    let mut user = api::Int64Value::new();
    user.value = 101;
    context(config).run_as_user = Some(user).into();
}

/// Opens its streams by their names, as a server whose log is a link to one.
const OPENS: &str = "for i in 0 1 2; do stat -L -c %u /proc/self/fd/$i; done; \
                     echo out >/dev/stdout && echo err >/dev/stderr && : </proc/self/fd/0 && \
                     echo opened";

fn streams(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("owner")?;
    let user = pod.start_with("user", &format!("{OPENS}; {SERVICE}"), |config| {
        as_user(config);
        config.stdin = true;
    })?;
    user.logged("opened")?;
    user.logged("err")?;
    // Between the two streams there is no order.
    let mut texts: Vec<_> = user.log().into_iter().map(|(_, text)| text).collect();
    texts.retain(|text| text != "err");
    let opened = ["101", "101", "101", "out", "opened"].map(str::to_owned);
    ensure!(texts.starts_with(&opened), "{texts:?}");
    // What an exec has for input differs by runtime.
    let opens =
        "stat -L -c %u /dev/stdout /dev/stderr; echo out >/dev/stdout; echo err >/dev/stderr";
    let seen = user.exec(&["sh", "-c", opens])?;
    let expected = (0, "101\n101\nout\n".to_owned(), "err\n".to_owned());
    ensure!(seen == expected, "{seen:?}");

    let terminal = pod.start_with("terminal", &format!("{OPENS}; {SERVICE}"), |config| {
        as_user(config);
        config.tty = true;
        config.stdin = true;
    })?;
    terminal.logged("opened")?;
    let mut request = api::ExecRequest::new();
    user.id().clone_into(&mut request.container_id);
    request.cmd = ["sh", "-c", OPENS].map(str::to_owned).to_vec();
    (request.tty, request.stdin, request.stdout) = (true, true, true);
    let url = kubelet.cri().exec(&request)?;
    let mut session = Session::open(&url, Deadline::after(Duration::from_secs(30)))?;
    session.finish()?;
    let seen = session.text(Channel::Stdout).replace('\r', "");
    same("Terminal", &seen, "101\n101\n101\nout\nerr\nopened")?;
    pod.remove()
}

fn directories(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("directory")?;
    let volume = pod.volume("kubernetes.io~empty-dir", "data")?;
    let with = |directory: &'static str| {
        let volume = volume.clone();
        move |config: &mut api::ContainerConfig| {
            as_user(config);
            directory.clone_into(&mut config.working_dir);
            config.mounts.push(mount(&volume, "/data"));
        }
    };
    let seen = "pwd -P; stat -c '%u %g %a' .; stat -c '%u %g %a' ..";
    for (name, directory, expected) in [
        ("absent", "/no/such", "/no/such"),
        ("volume", "/data/below/it", "/data/below/it"),
    ] {
        let container = pod.start_with(name, SERVICE, with(directory))?;
        same(
            name,
            &container.shell(seen)?,
            &format!("{expected}\n0 0 755\n0 0 755"),
        )?;
        container.stop(0)?;
    }
    let fixed = pod.start_with("fixed", SERVICE, |config| {
        "/fixed/here".clone_into(&mut config.working_dir);
        context(config).readonly_rootfs = true;
    })?;
    same(
        "Read-only root",
        &fixed.shell("pwd; touch x 2>/dev/null || echo refused")?,
        "/fixed/here\nrefused",
    )?;
    for (name, directory, reason) in [
        ("file", "/etc/passwd/x", "not a directory"),
        ("refused", "/proc/sys/x", "/proc/sys/x"),
    ] {
        let told = not_started(&pod, name, with(directory))?;
        println!("    {told}");
        ensure!(
            told.contains("/etc/passwd") || told.contains("/proc/sys"),
            "{told}"
        );
        ensure!(told.contains(reason) && !told.contains("syscall"), "{told}");
    }
    // An exec makes none.
    let gone = pod.start_with("gone", SERVICE, with("/gone"))?;
    let (code, _, errors) = gone.exec(&["sh", "-c", "true"])?;
    ensure!(code == 0, "{errors}");
    let root = pod.start_with("root", SERVICE, |config| {
        "/gone".clone_into(&mut config.working_dir);
    })?;
    root.shell("cd / && rmdir /gone")?;
    let told = match root.exec(&["true"]) {
        Ok((code, _, errors)) => format!("{code} {errors}"),
        Err(error) => error.to_string(),
    };
    ensure!(
        told.contains("/gone") && told.contains("no such file or directory"),
        "{told}"
    );
    pod.remove()
}

/// What is said of a container that does not come to run.
fn not_started(
    pod: &Pod<'_>,
    name: &str,
    adjust: impl FnOnce(&mut api::ContainerConfig),
) -> Result<String> {
    match pod.create(name, "true", adjust) {
        Err(error) => Ok(error.to_string()),
        Ok(container) => match container.start() {
            Err(error) => Ok(error.to_string()),
            Ok(()) => Err(Error::Unexpected(format!("{name} was started"))),
        },
    }
}

/// Makes what cannot be executed. The last but one is a program for another machine.
const ENTRIES: &str = "cd /entries && printf 'echo hi\\n' >script && \
                       printf '#!/no/interpreter\\n' >lost && \
                       printf '#!/bin/sh\\r\\necho hi\\r\\n' >carriage && \
                       : >empty && { printf '\\177ELF\\002\\001\\001'; \
                       head -c 57 /dev/zero; } >foreign && \
                       chmod 755 * && printf '#!/bin/sh\\n' >plain && chmod 644 plain";

fn not_executed(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("entry")?;
    let volume = pod.volume("kubernetes.io~empty-dir", "entries")?;
    let runs = |command: Vec<String>| {
        let volume = volume.clone();
        move |config: &mut api::ContainerConfig| {
            config.command = command;
            config.mounts.push(mount(&volume, "/entries"));
        }
    };
    let long = ["sh", "-c", "true"]
        .map(str::to_owned)
        .into_iter()
        .chain(["x".repeat(3_000_000)])
        .collect();
    let made = pod.start_with(
        "makes",
        "",
        runs(["sh", "-c", ENTRIES].map(str::to_owned).to_vec()),
    )?;
    let ended = made.ended()?;
    ensure!(ended.exit_code == 0, "{ended}");
    let entry = |name: &str| vec![format!("/entries/{name}")];
    for (name, command, told) in [
        (
            "script",
            entry("script"),
            "exec /entries/script: exec format error",
        ),
        (
            "lost",
            entry("lost"),
            "exec /entries/lost: no such file or directory",
        ),
        (
            "carriage",
            entry("carriage"),
            "exec /entries/carriage: no such file or directory",
        ),
        (
            "empty",
            entry("empty"),
            "exec /entries/empty: exec format error",
        ),
        (
            "foreign",
            entry("foreign"),
            "exec /entries/foreign: exec format error",
        ),
        ("long", long, "exec /bin/sh: argument list too long"),
    ] {
        let container = pod.start_with(name, "", runs(command))?;
        let ended = container.ended()?;
        ensure!(ended.exit_code == 1, "{name}: {ended}");
        container.logged(told)?;
        container.remove()?;
    }
    for (name, program) in [("plain", "/entries/plain"), ("directory", "/entries")] {
        let told = not_started(&pod, name, runs(vec![program.to_owned()]))?;
        ensure!(
            told.contains(program) && told.contains("permission denied"),
            "{told}"
        );
    }
    let service = pod.start_with(
        "service",
        SERVICE,
        runs(["sh", "-c", SERVICE].map(str::to_owned).to_vec()),
    )?;
    for (name, reason) in [
        ("script", "exec format error"),
        ("lost", "no such file or directory"),
        ("plain", "permission denied"),
    ] {
        let program = format!("/entries/{name}");
        let told = match service.exec(&[&program]) {
            Ok((code, _, errors)) => format!("{code} {errors}"),
            Err(error) => error.to_string(),
        };
        ensure!(told.contains(&program) && told.contains(reason), "{told}");
    }
    pod.remove()
}

fn signals(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("signals")?;
    let script = "echo up; sleep 1000; true";
    let (code, took) = stopped(&pod.start("without", script)?)?;
    ensure!(
        code == 137 && took >= Duration::from_secs(3),
        "{code} after {took:?}"
    );
    // With the pod's processes it is not the first one, and the kernel ends it.
    let shared = pod.start_with("shared", script, |config| {
        context(config)
            .namespace_options
            .mut_or_insert_default()
            .pid = POD;
    })?;
    let (code, took) = stopped(&shared)?;
    ensure!(
        code == 143 && took < Duration::from_secs(3),
        "{code} after {took:?}"
    );
    // One that was made and not started is ended by either.
    let unstarted = pod.create("unstarted", script, |_| ())?;
    unstarted.stop(3)?;
    unstarted.remove()?;
    pod.remove()
}

/// Stops it with a grace period of 3 seconds. Its exit code, and how long that took.
fn stopped(container: &Container<'_>) -> Result<(i32, Duration)> {
    container.logged("up")?;
    let began = Instant::now();
    container.stop(3)?;
    Ok((container.status()?.exit_code, began.elapsed()))
}

/// Makes a node of the first disk there is and reads from it.
const READS_A_DISK: &str = "set -- $(awk 'NR > 2 { print $1, $2; exit }' /proc/partitions); \
                            rm -f /tmp/disk; mknod /tmp/disk b $1 $2 && \
                            head -c 512 /tmp/disk | wc -c";

fn devices(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run_with("devices", |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.security_context.mut_or_insert_default().privileged = true;
    })?;
    let first = format!("{READS_A_DISK}; {SERVICE}");
    let container = pod.start("plain", &first)?;
    container.logged("up")?;
    let log = container.log();
    ensure!(
        log.iter()
            .any(|(_, text)| text.contains("Operation not permitted"))
            && log.iter().any(|(_, text)| text == "0"),
        "{log:?}"
    );
    let (_, seen, told) = container.exec(&["sh", "-c", READS_A_DISK])?;
    ensure!(
        seen.trim() == "0" && told.contains("Operation not permitted"),
        "{seen} {told}"
    );
    // The kernel's log and memory, by nodes of its own.
    let nodes =
        "cd /tmp; mknod kmsg c 1 11; mknod mem c 1 1; cat kmsg mem 2>&1 | grep -c 'not permitted'";
    same("Nodes", &container.shell(nodes)?, "2")?;
    let everybodys = "echo x >/dev/null && head -c 9 /dev/zero | wc -c && \
        head -c 9 /dev/urandom | wc -c && \
                      mknod /tmp/null c 1 3 && echo x >/tmp/null && echo well";
    same("What all have", &container.shell(everybodys)?, "9\n9\nwell")?;
    if kubelet.is_imprint() {
        // The whole VM, and with runc the whole machine, whose disks are nobody's to read.
        let privileged = pod.start_with("privileged", SERVICE, |config| {
            context(config).privileged = true;
        })?;
        same("Privileged", &privileged.shell(READS_A_DISK)?, "512")?;
    }
    pod.remove()
}
