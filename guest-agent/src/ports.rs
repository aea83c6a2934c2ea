//! Finds virtio-serial ports by the names the host gave them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The port that carries the agent's service.
pub const SERVICE: &str = "imprint.agent";
/// The port that takes the agent's log.
pub const LOG: &str = "imprint.log";
/// Where the kernel lists the ports.
pub const CLASS: &str = "/sys/class/virtio-ports";

/// The device node of the port called `name`, if `class` lists one.
pub fn find(class: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(class)
        .ok()?
        .flatten()
        .find(|port| {
            fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name)
        })
        .map(|port| Path::new("/dev").join(port.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_name_only() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [
            ("vport1p1", "org.example.0\n"),
            ("vport1p2", "imprint.agent\n"),
        ] {
            fs::create_dir(class.path().join(port)).unwrap();
            fs::write(class.path().join(port).join("name"), name).unwrap();
        }
        fs::create_dir(class.path().join("vport1p3")).unwrap();
        assert_eq!(
            find(class.path(), "imprint.agent"),
            Some("/dev/vport1p2".into())
        );
        assert_eq!(find(class.path(), "imprint"), None);
    }
}
