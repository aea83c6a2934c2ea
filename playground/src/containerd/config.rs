//! containerd's configuration file, in the form that its release reads.

use super::Layout;

/// Name of the CRI handler whose pods are made by the sandbox API.
pub const SANDBOX_HANDLER: &str = "imprint-sandbox";

/// Name of the image that pods are held by.
pub const PAUSE: &str = "imprint.local/pause:1";

/// The text of containerd's configuration file for this layout.
pub(super) fn text(layout: &Layout) -> String {
    let d = layout.directory.display();
    // Version 3 has the CRI plugin in three; its parts have other names, not other keys.
    let (version, images, runtime) = if layout.release.at_least(2, 0) {
        (
            3,
            "io.containerd.cri.v1.images",
            "io.containerd.cri.v1.runtime",
        )
    } else {
        (2, CRI, CRI)
    };
    let image = if version == 3 {
        format!("[plugins.\"{images}\".pinned_images]\nsandbox = \"{PAUSE}\"\n")
    } else {
        format!("[plugins.\"{CRI}\"]\nsandbox_image = \"{PAUSE}\"\n{STREAMS}")
    };
    let streams = if version == 3 {
        format!("[plugins.\"{CRI}\"]\n{STREAMS}\n[plugins.\"{runtime}\"]\n")
    } else {
        String::new()
    };
    // A key that is deprecated makes `ctr` warn on every call.
    let plugins = if layout.release.at_least(2, 1) {
        r#"bin_dirs = ["/usr/lib/cni"]"#
    } else {
        r#"bin_dir = "/usr/lib/cni""#
    };
    format!(
        r#"version = {version}
root = "{d}/root"
state = "{d}/state"

[grpc]
address = "{d}/containerd.sock"

[debug]
level = "debug"

[plugins."io.containerd.internal.v1.opt"]
path = "{d}/opt"

[plugins."io.containerd.nri.v1.nri"]
disable = true

{image}
{streams}restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."{runtime}".cni]
{plugins}
conf_dir = "{d}/cni"
max_conf_num = 2

[plugins."{runtime}".containerd]
default_runtime_name = "imprint"

[plugins."{runtime}".containerd.runtimes.imprint]
runtime_type = "io.containerd.imprint.v2"
pod_annotations = ["io.katacontainers.*"]

[plugins."{runtime}".containerd.runtimes.imprint.options]
TypeUrl = "runtimeoptions.v1.Options"
ConfigPath = "{config}"

[plugins."{runtime}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{sandboxer}{snapshotters}"#,
        sandboxer = sandboxer(layout, runtime),
        snapshotters = snapshotters(layout),
        config = layout.imprint_config.display(),
    )
}

/// A handler whose pods are made by the sandbox API, of the releases whose CRI plugin can ask for
/// it.
fn sandboxer(layout: &Layout, runtime: &str) -> String {
    if !layout.release.at_least(2, 0) {
        return String::new();
    }
    let handler = format!("plugins.\"{runtime}\".containerd.runtimes.{SANDBOX_HANDLER}");
    // Without options: with any but runc's, containerd 2.1 starts no container in such a pod.
    format!(
        r#"
[{handler}]
runtime_type = "io.containerd.imprint.v2"
sandboxer = "shim"
"#
    )
}

/// The snapshotters that give disks instead of directories, of the releases that have them.
fn snapshotters(layout: &Layout) -> String {
    let mut text = String::new();
    if let Some(scratch) = layout.scratch_disk() {
        text.push_str(
            "\n[plugins.\"io.containerd.snapshotter.v1.blockfile\"]\nfs_type = \"ext4\"\n",
        );
        text.push_str(&format!("scratch_file = \"{}\"\n", scratch.display()));
    }
    if layout.release.at_least(2, 1) {
        text.push_str("\n[plugins.\"io.containerd.service.v1.diff-service\"]\n");
        text.push_str("default = [\"erofs\", \"walking\"]\n");
    }
    text
}

const CRI: &str = "io.containerd.grpc.v1.cri";
const STREAMS: &str = "stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\"\n";
