//! What processes have used, from `/proc`.

use std::{fs, path::PathBuf};

use super::sample::{Costs, Memory};
use crate::{Error, Result, node::Node, proc::Process};

/// The VMM and the shim of one container.
pub(super) struct Processes {
    vmm: Process,
    shim: Process,
}

impl Processes {
    /// Those whose command lines name the container, or the pod.
    pub(super) fn of(node: &Node, id: &str) -> Result<Self> {
        let one = |processes: Vec<Process>, what: &str| {
            let mut named = processes
                .into_iter()
                .filter(|process| process.command.contains(id));
            named
                .next()
                .ok_or_else(|| Error::Unexpected(format!("{id} has no {what}")))
        };
        Ok(Self {
            vmm: one(node.vmms(), "VMM")?,
            shim: one(node.shims(), "shim")?,
        })
    }

    pub(super) fn costs(&self) -> Result<Costs> {
        let [minor, major] = faults(&self.vmm)?;
        Ok(Costs {
            shim_cpu_ms: cpu_ms(&self.shim)?,
            vmm_cpu_ms: cpu_ms(&self.vmm)?,
            vmm_minor_faults: minor,
            vmm_major_faults: major,
        })
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let text = read(&self.vmm, "smaps")?;
        let (guest_pss_kib, code_pss_kib) = by_kind(&text);
        Ok(Memory {
            vmm_pss_kib: self.vmm.pss_kib()?,
            guest_pss_kib,
            code_pss_kib,
            shim_pss_kib: self.shim.pss_kib()?,
        })
    }
}

fn read(process: &Process, file: &str) -> Result<String> {
    let path = PathBuf::from(format!("/proc/{}/{file}", process.pid));
    fs::read_to_string(&path).map_err(Error::io("Reading", &path))
}

/// Time on a CPU of the threads that live: the first field of their `schedstat`, in nanoseconds.
/// `/proc/<pid>/stat` counts in ticks, which are longer than a start.
fn cpu_ms(process: &Process) -> Result<f64> {
    let path = format!("/proc/{}/task", process.pid);
    let tasks = fs::read_dir(&path).map_err(Error::io("Listing", &path))?;
    let texts = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    let sum: u64 = texts.filter_map(|text| first(&text)).sum();
    Ok(sum as f64 / 1e6)
}

fn first(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// PSS in KiB of the mappings of a template's memory file, and of those that a translator writes
/// and runs (proc_pid_smaps(5)).
fn by_kind(smaps: &str) -> (u64, u64) {
    let (mut guest, mut code) = (0, 0);
    let (mut is_guest, mut is_code) = (false, false);
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Pss:", kib, ..] => {
                let pss: u64 = kib.parse().unwrap_or_default();
                guest += if is_guest { pss } else { 0 };
                code += if is_code { pss } else { 0 };
            }
            // Only the head of a mapping begins with its addresses.
            [addresses, rights, _, _, _, path @ ..] if addresses.contains('-') => {
                // The file may have been unlinked since; then a word follows.
                is_guest = path.first().is_some_and(|path| path.ends_with("/memory"));
                is_code = path.is_empty() && rights.starts_with("rwx");
            }
            _ => {}
        }
    }
    (guest, code)
}

/// Minor and major faults: fields 10 and 12 of proc_pid_stat(5).
fn faults(process: &Process) -> Result<[u64; 2]> {
    let stat = read(process, "stat")?;
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, tail)| tail.split(' ').collect())
        .unwrap_or_default();
    // The first after the name is field 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse().ok());
    match (field(10), field(12)) {
        (Some(minor), Some(major)) => Ok([minor, major]),
        _ => Err(Error::Unexpected(format!("No faults are in {stat:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_apart_by_what_is_mapped() {
        let smaps = "55-56 r-xp 00000000 fe:01 7 /usr/bin/qemu\nRss: 9 kB\nPss: 3 kB\n\
                     Pss_Dirty: 1 kB\n\
                     56-57 rw-p 00000000 00:00 0 [heap]\nPss: 5 kB\n\
                     57-58 rwxp 00000000 00:00 0 \nPss: 7 kB\n\
                     58-59 rw-p 00000000 00:2a 9 /t/key/memory (deleted)\nPss: 11 kB\n\
                     VmFlags: rd wr\n";
        assert_eq!(by_kind(smaps), (11, 7));
    }

    #[test]
    fn this_process_has_used_the_cpu_and_faulted() {
        let me = i32::try_from(std::process::id()).unwrap();
        let me = Process::read(me).unwrap();
        let before = cpu_ms(&me).unwrap();
        let sum: u64 = (0..3_000_000_u64).map(std::hint::black_box).sum();
        std::hint::black_box(sum);
        assert!(cpu_ms(&me).unwrap() > before);
        assert!(faults(&me).unwrap()[0] > 0);
    }
}
