//! Who a container's processes are, and what they may.

use e2e_tests::harness::Case;
use playground::{
    Result,
    cri::{Kubelet, api},
    ensure,
    node::Node,
};
use protobuf::MessageField;

use crate::pods::{SERVICE, same};

/// What the script prints, a line each: user, group, groups, capabilities, no_new_privs, seccomp.
const WHO: &str = "id -u; id -g; id -G; grep CapEff /proc/1/status | cut -f2; \
                   grep NoNewPrivs /proc/1/status | cut -f2; \
                   grep Seccomp: /proc/1/status | cut -f2";

/// The capabilities that containers have by default, as `/proc` shows them.
const DEFAULT: &str = "00000000a80425fb";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("security::users_groups_capabilities_and_privileges", who),
        Case::new("security::paths_are_masked_or_read_only", paths),
        Case::new("security::privileged_means_the_whole_vm", privileged),
    ]
}

fn number(value: i64) -> MessageField<api::Int64Value> {
    let mut message = api::Int64Value::new();
    message.value = value;
    MessageField::some(message)
}

fn profile(profile_type: i32) -> MessageField<api::SecurityProfile> {
    let mut message = api::SecurityProfile::new();
    message.profile_type = profile_type;
    MessageField::some(message)
}

/// The context of a container's configuration.
fn context(config: &mut api::ContainerConfig) -> &mut api::LinuxContainerSecurityContext {
    let linux = config.linux.mut_or_insert_default();
    linux.security_context.mut_or_insert_default()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

fn who(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("who")?;
    let plain = pod.start("plain", SERVICE)?;
    let expected = format!("0\n0\n0\n{DEFAULT}\n0\n0");
    same("Plain", &plain.shell(WHO)?, &expected)?;

    let user = pod.start_with("user", SERVICE, |config| {
        let context = context(config);
        context.run_as_user = number(1000);
        context.run_as_group = number(2000);
        context.supplemental_groups = vec![3000, 4000];
        context.no_new_privs = true;
    })?;
    same(
        "User",
        &user.shell(WHO)?,
        "1000\n2000\n2000 3000 4000\n0000000000000000\n1\n0",
    )?;

    let named = pod.start_with("named", SERVICE, |config| {
        context(config).run_as_username = "guest".to_owned();
    })?;
    same("Named user", &named.shell("id -u; id -g")?, "1000\n1000")?;

    let able = pod.start_with("able", SERVICE, |config| {
        let mut capabilities = api::Capability::new();
        capabilities.add_capabilities = words(&["NET_ADMIN"]);
        capabilities.drop_capabilities = words(&["CHOWN"]);
        context(config).capabilities = MessageField::some(capabilities);
    })?;
    // NET_ADMIN is bit 12, CHOWN is bit 0.
    same(
        "Capabilities",
        &able.shell("grep CapEff /proc/1/status | cut -f2")?,
        "00000000a80435fa",
    )?;
    able.shell(
        "ip link add imprint-d type dummy 2>/dev/null || ip link set lo down && ip link set lo up",
    )?;
    let (code, _, _) = able.exec(&["chown", "1000", "/tmp"])?;
    ensure!(code != 0, "It may chown without the capability");

    let filtered = pod.start_with("filtered", SERVICE, |config| {
        context(config).seccomp = profile(0);
    })?;
    same(
        "Seccomp",
        &filtered.shell("grep Seccomp: /proc/1/status | cut -f2")?,
        "2",
    )?;
    let (code, _, _) = filtered.exec(&["unshare", "-U", "true"])?;
    ensure!(code != 0, "The filter lets unshare(CLONE_NEWUSER) through");
    pod.remove()
}

fn paths(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run("paths")?;
    let masked = pod.start_with("masked", SERVICE, |config| {
        let context = context(config);
        context.masked_paths = words(&["/proc/kcore", "/proc/timer_list", "/sys/firmware"]);
        context.readonly_paths = words(&["/proc/sys", "/proc/bus"]);
    })?;
    same(
        "A masked file",
        &masked.shell("head -c 16 /proc/timer_list | wc -c")?,
        "0",
    )?;
    same(
        "A masked directory",
        &masked.shell("ls /sys/firmware | wc -l")?,
        "0",
    )?;
    let (code, _, _) = masked.exec(&["sh", "-c", "echo 1 > /proc/sys/kernel/shm_rmid_forced"])?;
    ensure!(code != 0, "/proc/sys can be written");
    let fixed = pod.start_with("fixed", SERVICE, |config| {
        context(config).readonly_rootfs = true
    })?;
    let (code, _, told) = fixed.exec(&["sh", "-c", "echo x > /x"])?;
    ensure!(code != 0 && told.contains("Read-only"), "{code} {told}");
    // What the runtime itself mounts is still of use.
    fixed.shell("echo x > /dev/shm/x && echo x > /dev/null")?;
    pod.remove()
}

fn privileged(node: &Node) -> Result<()> {
    let kubelet = Kubelet::new(node);
    let pod = kubelet.run_with("privileged", |config| {
        let linux = config.linux.mut_or_insert_default();
        linux.security_context.mut_or_insert_default().privileged = true;
    })?;
    let container = pod.start_with("privileged", SERVICE, |config| {
        context(config).privileged = true;
    })?;
    let shell = |script: &str| container.shell(script);
    // All that containerd has itself, SYS_ADMIN among them.
    let text = shell("grep CapEff /proc/1/status | cut -f2")?;
    let capabilities = u64::from_str_radix(text.trim(), 16).unwrap_or_default();
    ensure!(
        capabilities & (1 << 21) != 0 && capabilities.count_ones() > 30,
        "{text}"
    );
    shell("mkdir /tmp/m && mount -t tmpfs none /tmp/m && umount /tmp/m")?;
    shell("echo 1 > /proc/sys/kernel/shm_rmid_forced")?;
    pod.remove()
}
