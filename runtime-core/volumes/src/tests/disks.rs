//! Block devices. None is opened here that a test machine could have.

use super::*;

const NODE: &str =
    r#"{"path": "/dev/data", "type": "b", "major": 4094, "minor": 7, "fileMode": 432}"#;

#[tokio::test]
async fn a_device_that_the_host_does_not_have_is_an_error_and_leaves_nothing() {
    let node = Fixture::new().await;
    let mut spec = spec("c", &[], &format!(r#"{{"devices": [{NODE}]}}"#));
    let error = node.volumes.provide("c", &mut spec).await.unwrap_err();
    assert!(matches!(error, VolumeError::Io { .. }), "{error}");
    assert!(node.vm.disks.lock().is_empty());
}

#[tokio::test]
async fn a_privileged_container_gets_no_disk_of_the_host() {
    let node = Fixture::new().await;
    let linux = format!(
        r#"{{"devices": [{NODE}],
            "resources": {{"devices": [{{"allow": true, "access": "rwm"}}]}}}}"#
    );
    let mut spec = spec("c", &[], &linux);
    let provided = node.volumes.provide("c", &mut spec).await.unwrap();
    assert!(provided.devices.is_empty());
    let spec = spec.finish().unwrap();
    assert!(spec.Linux.Devices.iter().all(|device| device.Type != "b"));
}

#[test]
fn a_device_that_is_not_provided_is_not_passed_over() {
    let spec = spec("c", &[], &format!(r#"{{"devices": [{NODE}]}}"#));
    let error = spec.finish().unwrap_err().to_string();
    assert!(error.contains("/dev/data"), "{error}");
}

#[test]
fn rules_say_whether_a_device_may_be_written_to() {
    let taken = |access: &str| {
        let rule = format!(
            r#"{{"allow": true, "type": "b", "major": 4094, "minor": 7, "access": "{access}"}}"#
        );
        let deny = r#"{"allow": false, "access": "rwm"}"#;
        let linux =
            format!(r#"{{"devices": [{NODE}], "resources": {{"devices": [{deny}, {rule}]}}}}"#);
        let devices = spec("c", &[], &linux).take_block_devices();
        devices.first().map(|device| device.read_only)
    };
    assert_eq!(taken("rwm"), Some(false));
    assert_eq!(taken("rm"), Some(true));
}

#[test]
fn a_bind_of_a_device_becomes_a_node_and_the_other_mounts_stay() {
    let path = Path::new("/srv/x");
    let mounts = [
        (path, "/a", "rbind"),
        (path, "/dev/disk", "rbind"),
        (path, "/b", "rbind"),
    ];
    let mut spec = spec("c", &mounts, "{}");
    // As they are provided: in their order, as they were at first.
    for bind in spec.host_binds().to_vec() {
        match bind.destination.starts_with("/dev") {
            true => spec.provide_as_device(&bind, 0o660),
            false => spec.provide(&bind, &format!("/guest{}", bind.destination.display())),
        }
    }
    let spec = spec.finish().unwrap();
    assert!(
        spec.Mounts
            .iter()
            .all(|mount| mount.destination != "/dev/disk")
    );
    assert_eq!(
        (source(&spec, "/a"), source(&spec, "/b")),
        ("/guest/a", "/guest/b")
    );
    let [device] = spec.Linux.Devices.as_slice() else {
        panic!()
    };
    assert_eq!(
        (device.Path.as_str(), device.Type.as_str()),
        ("/dev/disk", "b")
    );
}
