//! What an operator may choose.

use std::path::PathBuf;

/// Choices that hold for every VM of one Cloud Hypervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClhConfig {
    /// The VMM, as in `/usr/bin/cloud-hypervisor`.
    pub binary: PathBuf,
    /// Whether the VMM confines itself with its seccomp filters.
    pub seccomp: bool,
    /// With this, the VMM also confines itself with Landlock to the files of its VM and to what
    /// lies below these directories: those of disks that are attached later.
    pub landlock: Option<Vec<PathBuf>>,
    /// How much the VMM writes to its standard error: 0 (warnings) to 3.
    pub verbosity: u8,
    /// Whether the guest may run virtual machines of its own.
    pub nested: bool,
    /// File that receives what the guest writes to its serial port, unbounded: for debugging. A
    /// relative path is taken within the VM's run directory.
    pub debug_console: Option<PathBuf>,
    /// File that caches the probe's result until the host boots again. Without it every process
    /// probes for itself.
    pub probe_cache: Option<PathBuf>,
}

impl Default for ClhConfig {
    fn default() -> Self {
        Self {
            binary: PathBuf::from("/usr/bin/cloud-hypervisor"),
            seccomp: true,
            landlock: None,
            verbosity: 0,
            nested: true,
            debug_console: None,
            probe_cache: None,
        }
    }
}
