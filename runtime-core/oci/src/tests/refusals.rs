//! What no container can be made from is refused before anything is made.

use std::{fs, io::Write};

use super::*;

fn error(edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut json: serde_json::Value = serde_json::from_str(include_str!("config.json")).unwrap();
    edit(&mut json);
    guest(&bundle(&json.to_string()), OPTIONS)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_container_without_a_command_is_refused() {
    for args in [
        serde_json::json!([]),
        serde_json::json!([""]),
        serde_json::Value::Null,
    ] {
        let error = error(|json| json["process"]["args"] = args);
        assert!(error.contains("no command to run"), "{error}");
    }
    let error = error(|json| json["process"] = serde_json::Value::Null);
    assert!(error.contains("no process"), "{error}");
}

#[test]
fn what_would_be_done_otherwise_than_asked_is_refused() {
    let overlay = serde_json::json!([{"destination": "/x", "type": "overlay", "source": "o"}]);
    let told = error(|json| json["mounts"] = overlay);
    assert!(told.contains("\"overlay\" on /x"), "{told}");
    let sourceless = serde_json::json!([{"destination": "/x", "type": "bind"}]);
    assert!(error(|json| json["mounts"] = sourceless).contains("mounts.source"));
    let notify =
        |json: &mut serde_json::Value| json["linux"]["seccomp"]["listenerPath"] = "/x".into();
    assert!(error(notify).contains("listenerPath"));
    let errno =
        |json: &mut serde_json::Value| json["linux"]["seccomp"]["defaultErrnoRet"] = 38.into();
    assert!(error(errno).contains("defaultErrnoRet"));
    assert!(error(|json| json["process"]["cwd"] = "relative".into()).contains("process.cwd"));
    let named = guest_spec(&golden(), "../x", &ContainerKind::PodSandbox, "/", OPTIONS);
    assert!(matches!(named.unwrap_err(), OciError::Id(_)));
}

#[test]
fn a_bundle_is_read_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let absent = load_bundle(dir.path()).unwrap_err();
    assert!(absent.to_string().contains("config.json"), "{absent}");
    fs::write(&file, include_str!("config.json")).unwrap();
    let bundle = load_bundle(dir.path()).unwrap();
    assert_eq!(bundle.rootfs(), dir.path().join("rootfs"));
    // Valid JSON, padded: one byte more than the limit, and 5 MiB.
    for length in [MAX_SPEC_BYTES + 1, 5 << 20] {
        let padding = vec![b' '; length as usize - include_str!("config.json").len()];
        fs::write(&file, include_str!("config.json")).unwrap();
        let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
        open.write_all(&padding).unwrap();
        let error = load_bundle(dir.path()).unwrap_err();
        assert!(
            matches!(
                error,
                OciError::TooLarge {
                    limit: MAX_SPEC_BYTES,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("4194304 bytes"), "{error}");
    }
    fs::write(&file, &include_bytes!("config.json")[..100]).unwrap();
    assert!(matches!(
        load_bundle(dir.path()).unwrap_err(),
        OciError::Parse { .. }
    ));
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
    assert!(matches!(
        load_bundle(dir.path()).unwrap_err(),
        OciError::Read { .. }
    ));
}

#[test]
fn an_absolute_root_is_taken_as_it_is() {
    let bundle = bundle(r#"{"root":{"path":"/srv/tree"}}"#);
    assert_eq!(bundle.rootfs(), Path::new("/srv/tree"));
}

#[test]
fn values_of_other_types_are_refused() {
    for url in [
        "",
        "Process",
        "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources",
    ] {
        assert!(
            matches!(exec_process(url, b"{}"), Err(OciError::WrongType { .. })),
            "{url}"
        );
    }
    let url = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let huge = vec![b' '; MAX_SPEC_BYTES as usize + 1];
    assert!(matches!(
        update_resources(url, &huge),
        Err(OciError::TooLarge { .. })
    ));
    assert!(matches!(
        update_resources(url, b"{"),
        Err(OciError::Parse { .. })
    ));
}
