//! `linux.cgroupsPath` in all its forms.

use std::path::Path;

use super::super::cgroup::CgroupPath;

#[test]
fn both_forms_are_understood() {
    let table = [
        ("/kubepods/burstable/pod1/c1", "kubepods/burstable/pod1/c1"),
        ("default/c1", "default/c1"),
        ("//a/./b/", "a/b"),
        ("/", "imprint/id"),
        ("", "imprint/id"),
        (
            "kubepods-burstable-pod_1.slice:cri-containerd:c1",
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod_1.slice/\
             cri-containerd-c1.scope",
        ),
        (":cri-containerd:c1", "system.slice/cri-containerd-c1.scope"),
        ("a.slice::c1", "a.slice/c1.scope"),
        ("-.slice:x:c1", "x-c1.scope"),
        ("a.slice:x:b.slice", "a.slice/b.slice"),
    ];
    for (given, expected) in table {
        let path = CgroupPath::parse(Some(Path::new(given)), "id", false).unwrap();
        assert_eq!(path.as_str(), expected, "{given}");
    }
    assert_eq!(
        CgroupPath::parse(None, "id", false).unwrap().as_str(),
        "imprint/id"
    );
}

#[test]
fn what_leads_elsewhere_is_refused() {
    let refused = [
        "/a/../b",
        "..",
        "a.slice:x:",
        "a:x:c1",
        "a--b.slice:x:c1",
        "-a.slice:x:c1",
        "a.slice:x:../c1",
        "a/b.slice:x:c1",
        "a\nb",
        ".slice:x:c",
    ];
    for given in refused {
        let result = CgroupPath::parse(Some(Path::new(given)), "id", false);
        assert!(result.is_err(), "{given}: {result:?}");
    }
}
