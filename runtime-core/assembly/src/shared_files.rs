//! What the containers of a pod share where no pause container brought it: the files that tell it
//! its names, its `/dev/shm`, its sysctls.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use oci::DEFAULT_SHM_OPTIONS;
use oci_spec::runtime::{LinuxBuilder, Mount, Spec};
use system::directory;

/// Name of the directory in that of the sandbox.
const DIRECTORY: &str = "etc";

/// What is to be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The hostname, as it is written into the file.
    pub hostname: String,
    /// The pod's `resolv.conf`; without one it has the node's.
    pub resolv_conf: Option<String>,
    /// Settings of the kernel that the pod asks for.
    pub sysctls: HashMap<String, String>,
}

/// What is shared, ready for the pod's containers.
#[derive(Debug)]
pub(crate) struct SharedFiles {
    directory: PathBuf,
    sysctls: HashMap<String, String>,
}

impl Content {
    /// Writes the files into a sandbox's directory; they go with it.
    ///
    /// # Errors
    /// What could not be written or read, and why.
    pub(crate) fn write(self, sandbox: &Path) -> Result<SharedFiles, (PathBuf, io::Error)> {
        let place = sandbox.join(DIRECTORY);
        let at = |path: &Path| {
            let path = path.to_owned();
            |error| (path, error)
        };
        directory::make_single(&place, directory::PRIVATE).map_err(at(&place))?;
        let node = |path: &str| match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(at(Path::new(path))),
        };
        let resolv_conf = match self.resolv_conf {
            Some(text) => text.into_bytes(),
            None => node("/etc/resolv.conf")?,
        };
        for (name, content) in [
            ("hostname", format!("{}\n", self.hostname).into_bytes()),
            ("hosts", node("/etc/hosts")?),
            ("resolv.conf", resolv_conf),
        ] {
            let path = place.join(name);
            fs::write(&path, content).map_err(at(&path))?;
        }
        Ok(SharedFiles {
            directory: place,
            sysctls: self.sysctls,
        })
    }
}

impl SharedFiles {
    /// Gives a container what its specification leaves to the sandbox. What it has of its own it
    /// keeps.
    pub(crate) fn complete(&self, spec: &mut Spec) {
        let read_only = spec
            .root()
            .as_ref()
            .is_some_and(|root| root.readonly().unwrap_or_default());
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        let mut add = |destination: &str, kind: &str, source: PathBuf, options: &[&str]| {
            if mounts
                .iter()
                .any(|m| m.destination() == Path::new(destination))
            {
                return;
            }
            let mut mount = Mount::default();
            mount.set_destination(destination.into());
            mount.set_typ(Some(kind.to_owned()));
            mount.set_source(Some(source));
            let options = options.iter().map(|&option| option.to_owned()).collect();
            mount.set_options(Some(options));
            mounts.push(mount);
        };
        let access = if read_only { "ro" } else { "rw" };
        for name in ["hostname", "hosts", "resolv.conf"] {
            let source = self.directory.join(name);
            let options = ["rbind", "rprivate", access];
            add(&format!("/etc/{name}"), "bind", source, &options);
        }
        add("/dev/shm", "tmpfs", "shm".into(), &DEFAULT_SHM_OPTIONS);
        spec.set_mounts(Some(mounts));
        self.set_sysctls(spec);
    }

    fn set_sysctls(&self, spec: &mut Spec) {
        if self.sysctls.is_empty() {
            return;
        }
        let linux = spec.linux().clone();
        let Some(mut linux) = linux.or_else(|| LinuxBuilder::default().build().ok()) else {
            return;
        };
        let mut sysctls = self.sysctls.clone();
        sysctls.extend(linux.sysctl().clone().unwrap_or_default());
        linux.set_sysctl(Some(sysctls));
        spec.set_linux(Some(linux));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> SharedFiles {
        let content = Content {
            hostname: "web".to_owned(),
            resolv_conf: Some("nameserver 10.0.0.1\n".to_owned()),
            sysctls: HashMap::from([("net.a".to_owned(), "1".to_owned())]),
        };
        content.write(dir).unwrap()
    }

    #[test]
    fn a_container_gets_what_it_lacks_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let mut spec: Spec = serde_json::from_str(
            r#"{"ociVersion": "1.1.0", "root": {"path": "rootfs", "readonly": true},
                "mounts": [{"destination": "/etc/hosts", "type": "bind", "source": "/own"}]}"#,
        )
        .unwrap();
        files.complete(&mut spec);
        let source = |destination: &str| {
            let mounts = spec.mounts().as_ref().unwrap().iter();
            let mut found = mounts.filter(|m| m.destination() == Path::new(destination));
            let source = found.next().unwrap().source().clone().unwrap();
            assert!(found.next().is_none(), "{destination}");
            source
        };
        assert_eq!(source("/etc/hosts"), Path::new("/own"));
        assert_eq!(source("/dev/shm"), Path::new("shm"));
        assert_eq!(fs::read(source("/etc/hostname")).unwrap(), b"web\n");
        assert_eq!(
            fs::read(source("/etc/resolv.conf")).unwrap(),
            b"nameserver 10.0.0.1\n"
        );
        let sysctls = spec.linux().as_ref().unwrap().sysctl().as_ref().unwrap();
        assert_eq!(sysctls["net.a"], "1");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = Content {
            hostname: String::new(),
            resolv_conf: None,
            sysctls: HashMap::new(),
        }
        .write(&dir.path().join("absent"))
        .unwrap_err();
        assert!(path.ends_with("absent/etc"));
    }
}
