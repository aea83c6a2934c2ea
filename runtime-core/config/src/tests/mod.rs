//! Configurations as an operator writes them, and what is said of them.

mod annotations;
mod clh;
mod documented;
mod files;
mod messages;
mod shapes;
mod values;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use system::error::chain;

use super::{Config, ConfigError, assemble, source};

/// A directory with what a configuration names, and the configuration.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for name in ["qemu", "vmlinux", "initrd.img", "image.raw"] {
            fs::write(node.path(name), "content").unwrap();
        }
        fs::set_permissions(node.path("qemu"), fs::Permissions::from_mode(0o755)).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text with `@` for this directory.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let here = self.dir.path().to_str().unwrap();
        fs::write(&path, text.replace('@', here)).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        self.write("configuration.toml", text);
        self.reload()
    }

    fn reload(&self) -> Result<Config, ConfigError> {
        load_file(&self.path("configuration.toml"))
    }

    /// What is said of a bad configuration, with `@` for this directory.
    fn complaint(&self, text: &str) -> String {
        let error = chain(&self.load(text).unwrap_err());
        error.replace(self.dir.path().to_str().unwrap(), "@")
    }
}

/// On a host with four CPUs.
fn load_file(path: &Path) -> Result<Config, ConfigError> {
    assemble::config(source::read(Some(path), None, &[])?, 4)
}

/// The least that is a configuration.
const LEAST: &str = "[hypervisor.qemu]
path = \"@/qemu\"
kernel = \"@/vmlinux\"
initrd = \"@/initrd.img\"
";

/// The least, and more keys of the same table.
fn with(more: &str) -> String {
    format!("{LEAST}{more}")
}
