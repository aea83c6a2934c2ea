//! What changes on the host while a pod runs.

use std::fs;

use super::*;

#[tokio::test]
async fn a_change_by_kubelet_reaches_the_guest_in_one_step() {
    let node = Fixture::new().await;
    let volume = node.pod("volumes/kubernetes.io~projected/token");
    publish(&volume, "..1", &[("token", "old")]);
    let (_held, spec) = node
        .provide("c", &[(&volume, "/token", "rbind,ro")])
        .await
        .unwrap();
    let path = source(&spec, "/token").to_owned();
    let before = node.guest.copied().len();
    publish(&volume, "..2", &[("token", "new"), ("more", "added")]);
    node.guest.until(&format!("{path}/token"), "new").await;
    node.guest.until(&format!("{path}/more"), "added").await;
    let after = node.guest.copied().split_off(before);
    let place = |name: &str| {
        after
            .iter()
            .position(|copied| copied.ends_with(name))
            .unwrap()
    };
    assert!(place("/..2/more") < place("/..data"), "{after:?}");
    assert!(place("/..2/token") < place("/..data"), "{after:?}");
}

#[tokio::test]
async fn a_volume_that_is_empty_at_first_is_filled_later() {
    let node = Fixture::new().await;
    let volume = node.pod("volumes/kubernetes.io~configmap/optional");
    let (_held, spec) = node
        .provide("c", &[(&volume, "/config", "rbind,ro")])
        .await
        .unwrap();
    let path = source(&spec, "/config").to_owned();
    assert!(node.guest.path(&path).is_dir());
    publish(&volume, "..1", &[("key", "value")]);
    node.guest.until(&format!("{path}/key"), "value").await;
}

#[tokio::test]
async fn a_file_that_is_written_on_the_host_is_copied_again() {
    let node = Fixture::new().await;
    let hosts = node.host("containers/pod/hosts", "one");
    let (_held, spec) = node
        .provide("c", &[(&hosts, "/etc/hosts", "rbind")])
        .await
        .unwrap();
    let path = source(&spec, "/etc/hosts").to_owned();
    fs::write(&hosts, "two and more").unwrap();
    node.guest.until(&path, "two and more").await;
}

#[tokio::test]
async fn a_watch_ends_with_the_last_container_that_needs_it() {
    let node = Fixture::new().await;
    let hosts = node.host("containers/pod/hosts", "one");
    let mounts = [(hosts.as_path(), "/etc/hosts", "rbind")];
    let (first, spec) = node.provide("c1", &mounts).await.unwrap();
    let (second, _) = node.provide("c2", &mounts).await.unwrap();
    let path = source(&spec, "/etc/hosts").to_owned();
    drop(first);
    fs::write(&hosts, "two").unwrap();
    node.guest.until(&path, "two").await;
    drop(second);
    fs::write(&hosts, "three").unwrap();
    // Another volume's change comes after, and is seen: this one's never will be.
    let other = node.host("containers/pod/resolv.conf", "a");
    let (_held, spec) = node
        .provide("c3", &[(&other, "/etc/resolv.conf", "rbind")])
        .await
        .unwrap();
    fs::write(&other, "b").unwrap();
    node.guest
        .until(source(&spec, "/etc/resolv.conf"), "b")
        .await;
    assert_eq!(fs::read_to_string(node.guest.path(&path)).unwrap(), "two");
    let (_again, _) = node.provide("c4", &mounts).await.unwrap();
    assert_eq!(fs::read_to_string(node.guest.path(&path)).unwrap(), "three");
}

#[tokio::test]
async fn nothing_of_a_pod_is_held_open_when_its_containers_are_gone() {
    let node = Fixture::new().await;
    let volume = node.pod("volumes/kubernetes.io~secret/key");
    publish(&volume, "..1", &[("key", "secret")]);
    let (provided, _) = node
        .provide("c", &[(&volume, "/key", "rbind,ro")])
        .await
        .unwrap();
    let open = || {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
        descriptors
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|to| *to == volume)
            .count()
    };
    assert_eq!(open(), 1);
    drop(provided);
    assert_eq!(open(), 0);
}
