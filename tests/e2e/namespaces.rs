//! The tool in a pid namespace of its own under the node's `/proc`, as in a pod without `hostPID`.

use e2e_tests::harness::Case;
use playground::{Result, ensure, node::Node, proc::MARK, program::Program, settings::Settings};

use crate::{lifecycle::service, templating::end};

pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "namespaces::a_template_is_made_and_destroyed_from_another_pid_namespace",
        another_pid_namespace,
    )]
}

/// `imprint factory ...` where fork and `/proc` speak of other numbers.
fn factory(node: &Node, action: &str) -> Program {
    let tool = node.artefacts().imprint();
    let config = node.config_path();
    Program::new("unshare")
        .args([
            "--pid",
            "--fork",
            &tool.to_string_lossy(),
            "--config",
            &config.to_string_lossy(),
            "factory",
            action,
        ])
        .env(MARK, node.directory())
}

fn another_pid_namespace(node: &Node) -> Result<()> {
    node.configure(&Settings {
        enable_template: true,
        ..node.settings()
    })?;
    node.imprint(&["factory", "destroy"]).succeed()?;
    let printed = factory(node, "init").succeed()?;
    ensure!(printed == "vm factory initialized\n", "{printed}");
    ensure!(node.vmms().is_empty(), "A VMM of the template remains");
    for status in [
        node.imprint(&["factory", "status"]),
        factory(node, "status"),
    ] {
        let told = status.succeed()?;
        ensure!(told.contains("vm factory is on"), "{told}");
    }
    // The shims of the node, in its own pid namespace, use it.
    let mark = node.mark();
    let (id, running) = service(node, "from-a-pod")?;
    let start = node.start_since(mark)?;
    ensure!(start.path.as_str() == "restored", "{start:?}");
    end(node, &id, running)?;
    let printed = factory(node, "destroy").succeed()?;
    ensure!(printed == "vm factory destroyed\n", "{printed}");
    let left = node.settings().template_path;
    ensure!(!left.exists(), "{} is still there", left.display());
    Ok(())
}
