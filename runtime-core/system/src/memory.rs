//! How much memory the machine has (proc_meminfo(5)).

use std::fs;

/// All memory, in bytes; `None` if the kernel does not report it.
#[must_use]
pub fn total() -> Option<u64> {
    figure(&table(), "MemTotal")
}

/// Memory that can be used without swapping, in bytes; `None` if the kernel does not report it.
#[must_use]
pub fn available() -> Option<u64> {
    figure(&table(), "MemAvailable")
}

fn table() -> String {
    fs::read_to_string("/proc/meminfo").unwrap_or_default()
}

fn figure(table: &str, name: &str) -> Option<u64> {
    let kib = |line: &str| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    table.lines().find_map(kib).map(|kib: u64| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let table = "MemTotal:       2097152 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(figure(table, "MemTotal"), Some(2 << 30));
        assert_eq!(figure(table, "MemAvailable"), Some(1 << 20));
        assert_eq!(figure(table, "Mem"), None);
        for damaged in ["", "MemTotal: many kB\n", "MemTotal: 5\n"] {
            assert_eq!(figure(damaged, "MemTotal"), None, "{damaged}");
        }
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available().unwrap() <= total().unwrap());
    }
}
