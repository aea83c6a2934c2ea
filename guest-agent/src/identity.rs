//! The names and random numbers of this guest, for a host that checks that two clones of one
//! template differ.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader, Read},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::unistd::gethostname;
use serde_json::{Value, json};

use crate::{
    entropy,
    error::{Doing, Result},
};

/// The `log_type` of GetDiagnosticData that asks for the report.
pub const LOG_TYPE: &str = "imprint.identity";

/// How many UUIDs are drawn from the kernel: enough to compare streams and not single numbers.
const UUIDS: usize = 8;
/// How many bytes of the VMM's random numbers are in the report.
const VMM_RANDOM: usize = 16;
/// Where the kernel describes network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// Exists when the kernel has a driver for the VM generation ID that the VMM provides.
const GENERATION_DRIVERS: [&str; 2] = [
    "/sys/bus/acpi/drivers/vmgenid",
    "/sys/bus/platform/drivers/vmgenid",
];

/// The report, as one JSON object.
///
/// The agent draws every number that it needs from the kernel, and has no random generator of its
/// own. The report has what clones share, too: the seeds of the standard library's hash maps and
/// the agent's address in memory. Nothing depends on those seeds: collections that live as long as
/// the agent are ordered maps.
///
/// # Errors
///
/// When the kernel gives no random numbers.
pub fn report() -> Result<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let uuids: Vec<String> = (0..UUIDS)
        .map(|_| kernel_file("/proc/sys/kernel/random/uuid"))
        .collect::<Result<_>>()?;
    let hostname = gethostname().map(|name| name.to_string_lossy().into_owned());
    let mut drivers = GENERATION_DRIVERS.iter();
    let identity = json!({
        "boot_id": kernel_file("/proc/sys/kernel/random/boot_id")?,
        "machine_id": fs::read_to_string("/etc/machine-id").unwrap_or_default().trim(),
        "hostname": hostname.unwrap_or_default(),
        "uuids": uuids,
        "random": random()?,
        "agent_uuid": uuid()?,
        "agent_hash_seed": format!("{:016x}", RandomState::new().hash_one(0_u64)),
        "agent_layout": agent_layout(),
        "clock_seconds": now.as_secs_f64(),
        "mac_addresses": mac_addresses(Path::new(INTERFACES)),
        "vmm_random": hex(&entropy::vmm_random(VMM_RANDOM)),
        "generation_id_driver": drivers.any(|path| fs::exists(path).unwrap_or(false)),
    });
    Ok(identity.to_string())
}

fn kernel_file(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).doing(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}

/// The address at which this program was loaded: chosen once, before the template was saved.
fn agent_layout() -> String {
    let mappings = File::open("/proc/self/maps").map(BufReader::new);
    let first = mappings.ok().and_then(|mappings| mappings.lines().next());
    let line = first.and_then(|line| line.ok()).unwrap_or_default();
    line.split('-').next().unwrap_or_default().to_owned()
}

fn random() -> Result<String> {
    let mut bytes = [0; 32];
    let mut device = File::open("/dev/urandom").doing(|| "open /dev/urandom".into())?;
    device
        .read_exact(&mut bytes)
        .doing(|| "read /dev/urandom".into())?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A version 4 UUID, made of the kernel's random numbers.
fn uuid() -> Result<String> {
    let drawn = random()?;
    let variant = char::from(b"89ab"[usize::from(drawn.as_bytes()[16] & 3)]);
    let part = |from: usize, to: usize| &drawn[from..to];
    Ok(format!(
        "{}-{}-4{}-{variant}{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    ))
}

/// MAC addresses of the VM's NICs by name. Interfaces that the kernel makes by itself, such as the
/// loopback and tunnels, have no device.
fn mac_addresses(class: &Path) -> Value {
    let interfaces = fs::read_dir(class).into_iter().flatten().flatten();
    let addresses: BTreeMap<String, String> = interfaces
        .filter_map(|interface| {
            let path = interface.path();
            let address = fs::read_to_string(path.join("address")).ok()?;
            let name = interface.file_name().to_string_lossy().into_owned();
            let device = path.join("device").exists();
            device.then(|| (name, address.trim().to_owned()))
        })
        .collect();
    json!(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_differs_each_time_and_the_names_stay() {
        let read = || -> Value { serde_json::from_str(&report().unwrap()).unwrap() };
        let (one, other) = (read(), read());
        for drawn in ["uuids", "random", "agent_uuid"] {
            assert_ne!(one[drawn], other[drawn], "{drawn}");
        }
        for name in ["boot_id", "machine_id", "hostname"] {
            assert_eq!(one[name], other[name], "{name}");
        }
        assert!(one["clock_seconds"].as_f64().unwrap() > 1.7e9);
    }

    #[test]
    fn only_nics_have_addresses() {
        let class = tempfile::tempdir().unwrap();
        for (name, address) in [
            ("lo", "00:00:00:00:00:00"),
            ("sit0", "0.0.0.0"),
            ("eth0", "02:00:00:00:00:01"),
        ] {
            let path = class.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("address"), format!("{address}\n")).unwrap();
        }
        fs::create_dir(class.path().join("eth0/device")).unwrap();
        let expected = json!({"eth0": "02:00:00:00:00:01"});
        assert_eq!(mac_addresses(class.path()), expected);
    }

    #[test]
    fn the_agents_uuid_has_the_form_of_version_4() {
        let uuid = uuid().unwrap();
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}
