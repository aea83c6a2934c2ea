//! One clone, restored as a pod's VM is, and what it says of itself.

use std::sync::Arc;

use agent_client::{
    Agent, Code, Error,
    agent::{CreateSandboxRequest, GetDiagnosticDataRequest},
};
use factory::start::{FirstImage, Start, StartPath, Survey, Timeline};
use hypervisors::{AgentChannel, Hypervisor, Vm, VmSpec};
use serde::Deserialize;
use slog::Logger;
use system::{error::chain, time::since_epoch};

use crate::{setup::Setup, verify::RunDir};

/// What the embedded agent is asked for; others do not know it.
const LOG_TYPE: &str = "imprint.identity";

/// A clone and all that is known of it.
pub(crate) struct Clone {
    vm: Arc<dyn Vm>,
    _run_dir: RunDir,
    /// How its agent is reached.
    pub(crate) channel: String,
    /// The generation id that the VMM shows it.
    pub(crate) generation_id: Option<String>,
    /// What its agent answered; `None` if it does not know the question.
    pub(crate) identity: Option<Identity>,
    /// Host time before and after it was asked, in seconds since the epoch.
    pub(crate) asked: (f64, f64),
}

/// The agent's answer. It comes from a guest, so it is only compared, and escaped when shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    pub(crate) boot_id: String,
    pub(crate) machine_id: String,
    pub(crate) hostname: String,
    pub(crate) uuids: Vec<String>,
    pub(crate) random: String,
    pub(crate) agent_uuid: String,
    pub(crate) agent_hash_seed: String,
    pub(crate) agent_layout: String,
    pub(crate) clock_seconds: f64,
    pub(crate) mac_addresses: std::collections::BTreeMap<String, String>,
    pub(crate) generation_id_driver: bool,
    pub(crate) vmm_random: String,
}

impl Clone {
    /// Restores a VM and asks it. On an error nothing of it is left.
    pub(crate) async fn start(
        setup: &Setup,
        vmm: &dyn Hypervisor,
        survey: Survey,
        name: &str,
        log: &Logger,
    ) -> Result<Self, String> {
        let run_dir = setup.run_dir();
        let run_dir = RunDir::make(run_dir.with_extension(name))?;
        let request = setup.request(VmSpec {
            id: format!("imprint-selftest-{name}"),
            run_dir: run_dir.0.clone(),
            ..setup.spec().await.map_err(|error| chain(&error))?
        });
        let start = Start {
            request: &request,
            vmm,
            log,
        };
        let mut timeline = Timeline::begin();
        let started = start.run(survey, FirstImage::none(), &mut timeline).await;
        let started = started.map_err(|error| chain(&error))?;
        let vm = started.vm;
        let known = match started.report.path {
            StartPath::Restored => ask(vm.as_ref(), &started.agent, &request.spec.id).await,
            StartPath::Booted => Err(started.report.reason),
        };
        match known {
            Ok((identity, asked, generation_id)) => Ok(Self {
                channel: channel(vm.agent_channel()),
                vm,
                _run_dir: run_dir,
                generation_id,
                identity,
                asked,
            }),
            Err(reason) => {
                if let Err(error) = vm.kill().await {
                    return Err(format!("{reason}; the VM may be left: {error}"));
                }
                Err(reason)
            }
        }
    }

    /// Ends its VM, and removes its run directory.
    pub(crate) async fn end(self) -> Result<(), String> {
        self.vm.kill().await.map_err(|error| chain(&error))
    }
}

type Known = (Option<Identity>, (f64, f64), Option<String>);

async fn ask(vm: &dyn Vm, agent: &Agent, name: &str) -> Result<Known, String> {
    // As every pod's: it gives the guest its name.
    let sandbox = CreateSandboxRequest {
        hostname: name.to_owned(),
        sandbox_id: name.to_owned(),
        ..Default::default()
    };
    let made = agent.create_sandbox(sandbox).await;
    made.map_err(|error| chain(&error))?;
    let request = GetDiagnosticDataRequest {
        log_type: LOG_TYPE.to_owned(),
        ..Default::default()
    };
    let before = now();
    let identity = match agent.get_diagnostic_data(request).await {
        Ok(answer) => Some(serde_json::from_str(&answer.data).map_err(|error| chain(&error))?),
        Err(Error::Rpc { code, .. }) if refuses(code) => None,
        Err(error) => return Err(chain(&error)),
    };
    let asked = (before, now());
    let generation_id = vm.generation_id().await.map_err(|error| chain(&error))?;
    Ok((identity, asked, generation_id))
}

/// How agents say that they do not know this.
fn refuses(code: Code) -> bool {
    matches!(
        code,
        Code::UNIMPLEMENTED | Code::INVALID_ARGUMENT | Code::NOT_FOUND | Code::INTERNAL
    )
}

fn channel(channel: &AgentChannel) -> String {
    match channel {
        AgentChannel::VirtioSerial(socket) => format!("virtio-serial {}", socket.display()),
        AgentChannel::Vsock { cid } => format!("vsock {cid}"),
        AgentChannel::HybridVsock(socket) => format!("vsock {}", socket.display()),
    }
}

fn now() -> f64 {
    since_epoch().as_secs_f64()
}
