//! OOM scores, by which the host chooses what to kill when its memory runs out.

use std::{fs, io};

use slog::{Logger, warn};

/// The range of `oom_score_adj` (proc(5)).
const RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The score for a VMM, computed from those of its pod's containers and of the shim. It is that of
/// the pod's best protected container, since all of them end with the VM. But the VMM must be
/// killed before the shim, which reports its end.
#[must_use]
pub fn for_vmm(containers: impl IntoIterator<Item = i32>, shim: i32) -> Option<i32> {
    let least = containers.into_iter().min()?;
    let above_shim = shim.saturating_add(1);
    Some(least.max(above_shim).clamp(*RANGE.start(), *RANGE.end()))
}

/// The score of the calling process.
///
/// # Errors
/// `/proc` is not mounted.
pub fn of_this_process() -> io::Result<i32> {
    read_entry("self")
}

/// The score of the process of this number in `/proc`.
///
/// # Errors
/// There is no such process.
pub fn read(pid: u32) -> io::Result<i32> {
    read_entry(&pid.to_string())
}

fn read_entry(process: &str) -> io::Result<i32> {
    let text = fs::read_to_string(format!("/proc/{process}/oom_score_adj"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Sets the score of a process. Not every host allows to lower a score; a failure is only logged.
pub fn set(pid: u32, score: i32, log: &Logger) {
    let now = read(pid);
    if now.as_ref().is_ok_and(|now| *now == score) {
        return;
    }
    if let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        warn!(log, "OOM score not set";
            "pid" => pid, "score" => now.ok(), "wanted" => score, "error" => %error);
    }
}
