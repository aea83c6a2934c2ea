//! Takes processors and memory into use that were plugged in.

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
/// How long processors may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

/// Brings processors online until `wanted` are, and all memory unless `processors_only`.
///
/// # Errors
///
/// When that many processors do not appear in time, or one does not come online.
pub async fn online(uevents: &Uevents, wanted: u32, processors_only: bool) -> Result<()> {
    let system = Path::new(SYSTEM);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let what = format!("{wanted} processors");
    uevents
        .wait_for(&what, PATIENCE, || {
            (processors(system).len() >= wanted).then_some(())
        })
        .await?;
    let (mut running, waiting): (Vec<_>, Vec<_>) = processors(system)
        .into_iter()
        .partition(|one| is_online(one));
    for processor in waiting {
        if running.len() >= wanted {
            break;
        }
        let switch = processor.join("online");
        fs::write(&switch, "1").on("write", &switch)?;
        running.push(processor);
    }
    if !processors_only {
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

fn processors(system: &Path) -> Vec<PathBuf> {
    numbered(&system.join("cpu"), "cpu")
}

/// The first processor has no switch: it is always online.
fn is_online(processor: &Path) -> bool {
    fs::read_to_string(processor.join("online")).map_or(true, |text| text.trim() == "1")
}

/// Entries called `prefix` and a number, in the order of their numbers.
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
    fn processors_are_told_from_their_neighbours() {
        let system = tempfile::tempdir().unwrap();
        for name in ["cpu0", "cpu10", "cpu2", "cpufreq", "cpuidle"] {
            fs::create_dir_all(system.path().join("cpu").join(name)).unwrap();
        }
        fs::write(system.path().join("cpu/cpu2/online"), "0\n").unwrap();
        let found = processors(system.path());
        let names: Vec<_> = found.iter().map(|one| one.file_name().unwrap()).collect();
        assert_eq!(names, ["cpu0", "cpu2", "cpu10"]);
        assert!(is_online(&found[0]) && !is_online(&found[1]));
    }
}
