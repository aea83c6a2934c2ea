//! What a configuration says of a VM to start: asked by a pod's start and by the `imprint` tool
//! alike.

use config::Config;
use factory::{
    TemplateStore,
    start::{Request, Timeouts},
};
use hypervisors::{VmSize, VmSpec};

/// How many times longer than configured a start may take on a node that has that many times as
/// much to do as it can.
const MAX_STRETCH: u32 = 12;

/// The VM of `spec`, for a pod that needs the size `wanted`.
#[must_use]
pub fn start_request(config: &Config, spec: VmSpec, wanted: VmSize) -> Request {
    let factory = &config.factory;
    let templates = || TemplateStore::at(&factory.template_path);
    Request {
        spec,
        wanted,
        may_grow: !config.runtime.static_sandbox_resource_mgmt,
        templates: factory.enable_template.then(templates),
        timeouts: Timeouts {
            agent: config.agent.connect_timeout,
            restore: factory.restore_timeout,
            max_stretch: MAX_STRETCH,
        },
    }
}
