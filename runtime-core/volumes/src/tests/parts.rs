//! Parts of volumes (`subPath`), which kubelet names by a name alone.

use config::HostPathPolicy;

use super::*;
use crate::{
    owner::Owner,
    source::Source,
    subpath::{Parent, parent_volume},
};

/// The volume called `name` that contains `part`. Without a bind mount, a path in the volume stands
/// for it.
fn parent(node: &Fixture, part: &Path, name: &str) -> Option<Parent> {
    let root = node.dir.path().join("kubelet");
    let owner = Owner {
        uid: Some("6c8f".into()),
        pods: root.join("pods").canonicalize().unwrap(),
        ids: Default::default(),
    };
    parent_volume(&root, &owner, &Source::open(part).unwrap(), name).unwrap()
}

#[tokio::test]
async fn a_part_is_of_the_volume_that_holds_it_whatever_others_are_called() {
    let node = Fixture::new().await;
    for (volume, plugin) in [
        ("kubernetes.io~empty-dir/pv", "kubernetes.io~empty-dir"),
        ("kubernetes.io~csi/pv/mount", "kubernetes.io~csi"),
        ("kubernetes.io~nfs/pv", "kubernetes.io~nfs"),
    ] {
        let volume = node.pod(&format!("volumes/{volume}"));
        let part = node.pod(&format!("volumes/{plugin}/pv/mount/a/b"));
        let found = parent(&node, &part, "pv").unwrap();
        assert_eq!(found.plugin, plugin);
        assert_eq!(found.volume.path, volume);
        assert_eq!(found.volume.path.join(found.part), part);
    }
    let elsewhere = node.pod("volumes/kubernetes.io~nfs/other");
    assert!(parent(&node, &elsewhere, "pv").is_none());
    // A link that a container left in its volume: all of the host would be in it.
    symlink("/", node.pod("volumes/kubernetes.io~csi/led").join("mount")).unwrap();
    assert!(parent(&node, &elsewhere, "led").is_none());
}

/// A hostPath volume may be called as a PersistentVolume of the pod is.
#[tokio::test]
async fn a_part_of_a_path_of_the_host_is_no_part_of_a_volume_of_the_same_name() {
    let node = Fixture::with(VolumeSettings {
        host_path: HostPathPolicy::Refuse,
        ..settings()
    })
    .await;
    node.pod("volumes/kubernetes.io~csi/pvc-1234/mount");
    node.pod("volumes/kubernetes.io~configmap/pvc-1234");
    let bound = node.pod("volume-subpaths/pvc-1234/main").join("0");
    fs::write(&bound, "of the host").unwrap();
    let mounts = [(bound.as_path(), "/data", "rbind,ro")];
    let error = node.provide("c", &mounts).await.unwrap_err().to_string();
    assert!(error.contains("host_path_volumes"), "{error}");
    assert_eq!(node.guest.copied(), Vec::<String>::new());
}

#[tokio::test]
async fn the_pods_may_be_on_another_disk() {
    let node = Fixture::with(VolumeSettings {
        host_path: HostPathPolicy::Refuse,
        ..settings()
    })
    .await;
    let disk = node.dir.path().join("disk");
    fs::create_dir_all(node.dir.path().join("kubelet")).unwrap();
    fs::create_dir_all(&disk).unwrap();
    symlink(&disk, node.dir.path().join("kubelet/pods")).unwrap();
    let volume = node.pod("volumes/kubernetes.io~configmap/config");
    publish(&volume, "..1", &[("key", "value")]);
    let mounts = [(volume.as_path(), "/etc/config", "rbind,ro")];
    let (_provided, spec) = node.provide("c", &mounts).await.unwrap();
    let path = source(&spec, "/etc/config");
    let key = node.guest.path(path).join("key");
    assert_eq!(fs::read_to_string(key).unwrap(), "value");
}
