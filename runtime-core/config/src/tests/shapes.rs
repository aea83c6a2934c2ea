//! `[[factory.shape]]`.

use std::time::Duration;

use hypervisors::VmSize;

use super::{LEAST, Node, with};

fn shape(vcpus: u32, memory_mib: u32) -> VmSize {
    VmSize { memory_mib, vcpus }
}

#[test]
fn without_shapes_there_is_the_usual_one() {
    let config = Node::new().load(&with("default_memory = 512")).unwrap();
    assert_eq!(config.factory.shapes, [shape(1, 512)]);
    assert_eq!(config.factory.restore_timeout, Duration::from_secs(5));
}

#[test]
fn shapes_are_read_smallest_first_with_the_usual_for_what_is_not_said() {
    for name in ["factory", "hypervisor.qemu.factory"] {
        let text = format!(
            "{LEAST}default_memory = 256\n[{name}]\nrestore_timeout_ms = 700\n\
             [[{name}.shape]]\nvcpus = 4\nmemory = 1024\n[[{name}.shape]]\nvcpus = 2\n"
        );
        let config = Node::new().load(&text).unwrap();
        assert_eq!(config.factory.shapes, [shape(2, 256), shape(4, 1024)]);
        assert_eq!(config.factory.restore_timeout, Duration::from_millis(700));
        let spec = config.template_spec(config.factory.shapes[1]);
        assert_eq!((spec.vcpus, spec.max_vcpus, spec.memory.mib), (4, 4, 1024));
        assert!(spec.memory.max_mib >= 1024);
    }
}

#[test]
fn a_shape_that_cannot_be_is_refused_with_its_line() {
    let say = |more: &str| Node::new().complaint(&format!("{LEAST}{more}"));
    let shapes = |more: &str| say(&format!("[[factory.shape]]\n{more}"));
    assert!(
        shapes("vcpu = 1").contains("configuration.toml:6: "),
        "{}",
        shapes("vcpu = 1")
    );
    assert!(shapes("vcpu = 1").contains("did you mean vcpus?"));
    assert!(shapes("memory = 8").contains("Must be from 64 to"));
    let many = shapes("vcpus = 5");
    assert!(
        many.contains("5 vCPUs, 2048 MiB has more vCPUs than the 4"),
        "{many}"
    );
    let twice = shapes("vcpus = 1\n[[factory.shape]]\nmemory = 2048");
    assert!(
        twice.contains("1 vCPU, 2048 MiB is listed twice"),
        "{twice}"
    );
    let table = say("[factory.shape]\nvcpus = 1");
    assert!(table.contains("an array of tables"), "{table}");
    let none = say("[factory]\nshape = []");
    assert!(none.contains("Must be from 1 to 16 tables"), "{none}");
}
