//! The processor of this host, in a line that changes when a guest could notice.

use std::fs;

/// Lines of `/proc/cpuinfo` that tell one processor from another.
const NAMED: [&str; 5] = ["vendor_id", "cpu family", "model", "model name", "stepping"];

/// Describes the host's processor.
pub fn describe() -> String {
    summary(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn summary(cpuinfo: &str) -> String {
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let field = |wanted: &str| {
        first.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == wanted).then(|| value.trim())
        })
    };
    let named: Vec<&str> = NAMED.iter().filter_map(|name| field(name)).collect();
    let flags = field("flags").unwrap_or_default();
    format!("{}, flags {:016x}", named.join("/"), fingerprint(flags))
}

/// FNV-1a: short, and the same in every build.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: Genuine\ncpu family\t: 6\nmodel\t\t: 106\n\
        model name\t: A CPU\nstepping\t: 6\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nmodel\t: 7\n";

    #[test]
    fn the_first_processor_is_described() {
        let text = summary(CPUINFO);
        assert!(text.starts_with("Genuine/6/106/A CPU/6, flags "), "{text}");
        assert_ne!(text, summary(&CPUINFO.replace("sse2", "sse2 avx")));
    }

    #[test]
    fn a_host_without_cpuinfo_is_described_too() {
        assert_eq!(summary(""), ", flags cbf29ce484222325");
    }
}
