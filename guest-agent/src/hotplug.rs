//! Brings hot-plugged CPUs and memory online.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{Doing, Result},
    uevent::Uevents,
};

const SYSTEM: &str = "/sys/devices/system";
/// How long CPUs may take to appear.
const CPU_TIMEOUT: Duration = Duration::from_secs(5);

/// Brings CPUs online until `wanted` of them are, and all memory unless `cpus_only`.
///
/// # Errors
///
/// When fewer CPUs appear within 5 seconds, or the kernel refuses to bring one online.
pub async fn online(uevents: &Uevents, wanted: u32, cpus_only: bool) -> Result<()> {
    let system = Path::new(SYSTEM);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let what = format!("{wanted} CPUs");
    uevents
        .wait_for(&what, CPU_TIMEOUT, || {
            (cpus(system).len() >= wanted).then_some(())
        })
        .await?;
    let (mut online, offline): (Vec<_>, Vec<_>) =
        cpus(system).into_iter().partition(|one| is_online(one));
    for cpu in offline {
        if online.len() >= wanted {
            break;
        }
        let state = cpu.join("online");
        fs::write(&state, "1").on("write", &state)?;
        online.push(cpu);
    }
    if !cpus_only {
        memory(system)?;
    }
    Ok(())
}

fn memory(system: &Path) -> Result<()> {
    for block in numbered(&system.join("memory"), "memory") {
        let state = block.join("state");
        if fs::read_to_string(&state).is_ok_and(|text| text.trim() == "offline") {
            fs::write(&state, "online").on("write", &state)?;
        }
    }
    Ok(())
}

fn cpus(system: &Path) -> Vec<PathBuf> {
    numbered(&system.join("cpu"), "cpu")
}

/// The first CPU has no file `online`: it always is.
fn is_online(cpu: &Path) -> bool {
    fs::read_to_string(cpu.join("online")).map_or(true, |text| text.trim() == "1")
}

/// The entries of `directory` whose names are `prefix` and a number, in the order of the numbers.
fn numbered(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix(prefix)?
                .parse()
                .ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpus_are_found_and_in_their_order() {
        let system = tempfile::tempdir().unwrap();
        for name in ["cpu0", "cpu10", "cpu2", "cpufreq", "cpuidle"] {
            fs::create_dir_all(system.path().join("cpu").join(name)).unwrap();
        }
        fs::write(system.path().join("cpu/cpu2/online"), "0\n").unwrap();
        let found = cpus(system.path());
        let names: Vec<_> = found.iter().map(|one| one.file_name().unwrap()).collect();
        assert_eq!(names, ["cpu0", "cpu2", "cpu10"]);
        assert!(is_online(&found[0]) && !is_online(&found[1]));
    }
}
