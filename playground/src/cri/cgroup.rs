//! The memory of a pod's cgroup, which kubelet makes before the pod and gives the pod's limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup that a pod's is made in. Whoever removes the pod removes it.
#[derive(Debug)]
pub struct PodMemory {
    directory: PathBuf,
    v2: bool,
}

impl PodMemory {
    /// Makes it, without a limit, at this path in its hierarchy.
    pub fn make(path: &str) -> Result<Self> {
        let v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let root = if v2 {
            PathBuf::from(ROOT)
        } else {
            Path::new(ROOT).join("memory")
        };
        let mut directory = root;
        for step in path.split('/').filter(|step| !step.is_empty()) {
            if v2 {
                write(&directory.join("cgroup.subtree_control"), "+memory")?;
            }
            directory.push(step);
            fs::create_dir_all(&directory).map_err(Error::io("Making", &directory))?;
        }
        let made = Self { directory, v2 };
        if v2 {
            made.write("cgroup.subtree_control", "+memory")?;
        }
        Ok(made)
    }

    /// From now on all in it may use this many bytes. What is used already is not taken back.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        let file = if self.v2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        self.write(file, &bytes.to_string())
    }

    /// What is used now, in bytes.
    pub fn used(&self) -> Result<u64> {
        self.read(if self.v2 {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        })
    }

    /// The most that was ever used; what is used now where the kernel does not tell (before 5.19).
    pub fn most(&self) -> Result<u64> {
        let peak = if self.v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        self.read(peak).or_else(|_| self.used())
    }

    fn read(&self, file: &str) -> Result<u64> {
        let path = self.directory.join(file);
        let text = fs::read_to_string(&path).map_err(Error::io("Reading", &path))?;
        let number = text.trim().parse();
        number.map_err(|_| Error::Unexpected(format!("{}: {text:?}", path.display())))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write(&self.directory.join(file), text)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io("Writing", path))
}
