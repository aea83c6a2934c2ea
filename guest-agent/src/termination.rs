//! The termination message of a container.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use agent_client::oci::Spec;

use crate::error::{Doing, Error, Result};

/// The `log_type` of GetDiagnosticData that asks for the message.
pub const LOG_TYPE: &str = "termination_log";
/// Longest message that is returned, in bytes: kubelet shows no more. Of a longer one, the end.
const MAX_MESSAGE: u64 = 4096;
/// The annotation with the message's path in the container.
const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
/// The path without that annotation.
const DEFAULT_PATH: &str = "/dev/termination-log";

/// The guest's file that is mounted at the message's path in the container of `spec`; `None` unless
/// it is in the directory `copies`.
pub fn file(spec: &Spec, copies: &Path) -> Option<PathBuf> {
    let path = spec.Annotations.get(PATH_ANNOTATION);
    let path = path.map_or(DEFAULT_PATH, String::as_str);
    let mut mounts = spec.Mounts.iter();
    let mount = mounts.find(|mount| mount.destination == path)?;
    let source = PathBuf::from(&mount.source);
    (source.parent() == Some(copies)).then_some(source)
}

/// Reads the message.
///
/// # Errors
///
/// When the container has no file for a message, or it cannot be read.
pub fn message(file: Option<&Path>) -> Result<String> {
    let file = file.ok_or_else(|| {
        Error::State("The container has no file for a termination message".into())
    })?;
    read_end(file).on("read", file)
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file: File = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_MESSAGE)))?;
    let mut message = Vec::new();
    file.take(MAX_MESSAGE).read_to_end(&mut message)?;
    Ok(String::from_utf8_lossy(&message).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use agent_client::oci::Mount;

    use super::*;

    #[test]
    fn the_end_of_the_message_is_read_from_the_mount_that_is_named() {
        let base = tempfile::tempdir().unwrap();
        let copies = base.path().join("shared");
        fs::create_dir(&copies).unwrap();
        let log = copies.join("log");
        fs::write(&log, format!("{}end", "x".repeat(5000))).unwrap();
        let file = |annotation: &[(&str, &str)], source: &Path| {
            let spec = Spec {
                Annotations: annotation
                    .iter()
                    .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                Mounts: vec![Mount {
                    destination: "/said".into(),
                    source: source.to_str().unwrap().into(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            super::file(&spec, &copies)
        };
        let named = [(PATH_ANNOTATION, "/said")];
        let found = message(file(&named, &log).as_deref()).unwrap();
        assert!(found.ends_with("end") && found.len() == 4096);
        for absent in [file(&[], &log), file(&named, Path::new("/etc/passwd"))] {
            assert_eq!(absent, None);
        }
        assert!(message(None).is_err());
    }
}
