//! From the wire's OCI specification to the runtime's `config.json`.
//!
//! On the wire a number or a text that was not given is zero or empty; here it is left out, which
//! to an OCI runtime is not the same: a memory limit of 0 would be a limit.

mod linux;
mod process;
mod resources;

pub use linux::Adaptation;
pub use process::{exec_process, process};
pub use resources::resources;

use agent_client::oci::{Hook, Hooks, Mount, Spec};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Version of the OCI runtime specification that the result follows.
const OCI_VERSION: &str = "1.0.2";

/// The runtime's configuration for `spec`, fitted to this guest.
///
/// # Errors
///
/// When a part is missing without which there is no container.
pub fn configuration(spec: &Spec, adaptation: &Adaptation) -> Result<Value> {
    let wanted = spec
        .Process
        .as_ref()
        .ok_or_else(|| Error::Invalid("the OCI specification has no process".into()))?;
    let root = spec
        .Root
        .as_ref()
        .ok_or_else(|| Error::Invalid("the OCI specification has no root".into()))?;
    let mut configuration = Map::new();
    configuration.insert("ociVersion".into(), OCI_VERSION.into());
    configuration.insert("process".into(), process(wanted)?);
    configuration.insert(
        "root".into(),
        json!({"path": root.Path, "readonly": root.Readonly}),
    );
    configuration.insert("mounts".into(), spec.Mounts.iter().map(mount).collect());
    configuration.insert(
        "linux".into(),
        linux::linux(spec.Linux.get_or_default(), adaptation),
    );
    if let Some(hooks) = spec.Hooks.as_ref() {
        configuration.insert("hooks".into(), all_hooks(hooks));
    }
    if !adaptation.shares_uts() && !spec.Hostname.is_empty() {
        configuration.insert("hostname".into(), spec.Hostname.clone().into());
    }
    if !spec.Annotations.is_empty() {
        configuration.insert("annotations".into(), json!(spec.Annotations));
    }
    Ok(Value::Object(configuration))
}

fn mount(mount: &Mount) -> Value {
    json!({
        "destination": mount.destination,
        "source": mount.source,
        "type": mount.type_,
        "options": mount.options,
    })
}

fn all_hooks(hooks: &Hooks) -> Value {
    json!({
        "prestart": list(&hooks.Prestart),
        "createRuntime": list(&hooks.CreateRuntime),
        "createContainer": list(&hooks.CreateContainer),
        "startContainer": list(&hooks.StartContainer),
        "poststart": list(&hooks.Poststart),
        "poststop": list(&hooks.Poststop),
    })
}

fn list(hooks: &[Hook]) -> Value {
    hooks
        .iter()
        .map(|hook| {
            let mut value = json!({"path": hook.Path, "args": hook.Args, "env": hook.Env});
            if hook.Timeout > 0 {
                value["timeout"] = hook.Timeout.into();
            }
            value
        })
        .collect()
}

/// Collects the members of an object that were given.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Members {
    /// Adds `value` unless it is the wire's way to say nothing.
    fn given<T: Default + PartialEq + Into<Value> + Clone>(&mut self, name: &str, value: &T) {
        if *value != T::default() {
            self.0.insert(name.to_owned(), value.clone().into());
        }
    }

    /// Adds `value` in any case.
    fn always(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests;
