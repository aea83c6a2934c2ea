//! The message that a container leaves when it ends.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::error::{Doing, Error, Result};

/// What a caller asks for it by.
pub const LOG_TYPE: &str = "termination_log";
/// How much of it is given, its end: what kubelet shows.
const MAX_MESSAGE: u64 = 4096;
/// Says where in the container the message is.
const PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
/// Where it is if nothing else is said.
const DEFAULT_PATH: &str = "/dev/termination-log";

/// Reads the message of the container whose configuration is in `bundle`; the file was copied to
/// below `copies`.
///
/// # Errors
///
/// When the container has no such file.
pub fn message(bundle: &Path, copies: &Path) -> Result<String> {
    let file = bundle.join("config.json");
    let text = fs::read(&file).on("read", &file)?;
    let configuration: Value =
        serde_json::from_slice(&text).map_err(|error| Error::Invalid(error.to_string()))?;
    let source = source(&configuration)
        .filter(|source| source.parent() == Some(copies))
        .ok_or_else(|| Error::State("The container has no file for its message".into()))?;
    read_end(&source).on("read", &source)
}

/// Source of the mount that the annotation names.
fn source(configuration: &Value) -> Option<PathBuf> {
    let path = configuration["annotations"][PATH_ANNOTATION]
        .as_str()
        .unwrap_or(DEFAULT_PATH);
    let mounts = configuration["mounts"].as_array()?;
    let mount = mounts.iter().find(|mount| mount["destination"] == path)?;
    mount["source"].as_str().map(PathBuf::from)
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
    use super::*;

    #[test]
    fn the_end_of_the_message_is_read_from_the_mount_that_is_named() {
        let base = tempfile::tempdir().unwrap();
        let copies = base.path().join("shared");
        fs::create_dir(&copies).unwrap();
        let log = copies.join("log");
        fs::write(&log, format!("{}end", "x".repeat(5000))).unwrap();
        let configure = |annotations: Value, source: &Path| {
            let configuration = serde_json::json!({
                "annotations": annotations,
                "mounts": [{"destination": "/said", "source": source}],
            });
            fs::write(base.path().join("config.json"), configuration.to_string()).unwrap();
        };
        configure(serde_json::json!({PATH_ANNOTATION: "/said"}), &log);
        let message = message(base.path(), &copies).unwrap();
        assert!(message.ends_with("end") && message.len() == 4096);
        configure(serde_json::json!({}), &log);
        assert!(super::message(base.path(), &copies).is_err());
        configure(
            serde_json::json!({PATH_ANNOTATION: "/said"}),
            Path::new("/etc/passwd"),
        );
        assert!(super::message(base.path(), &copies).is_err());
    }
}
