//! Calls about the sandbox as a whole, and those that this agent does not implement.

use std::{fs, path::Path};

use agent_client::agent;
use nix::unistd::sethostname;
use protobuf::well_known_types::empty::Empty;

use super::{Service, unsupported};
use crate::{
    boot,
    error::{Doing, Result},
    identity, log, shared_root, termination,
};

/// Longest host name that Linux accepts, in characters.
const MAX_HOST_NAME: usize = 64;

impl Service {
    /// Sets up the sandbox: removes everything of an earlier one, sets the host name and the DNS
    /// resolver, mounts the shared storages.
    pub(super) async fn create_sandbox(
        &self,
        request: agent::CreateSandboxRequest,
    ) -> Result<Empty> {
        if let Some(module) = request.kernel_modules.first() {
            return unsupported(&format!("loading the kernel module {:?}", module.name));
        }
        if !request.guest_hook_path.is_empty() {
            return unsupported("hooks in the guest");
        }
        self.0.remove_all_containers().await;
        self.0.storages.remove_all().await;
        let root = &self.0.settings.root;
        self.0.begin_root()?;
        if self.0.settings.init && !request.hostname.is_empty() {
            let name: String = request.hostname.chars().take(MAX_HOST_NAME).collect();
            sethostname(&name).doing(|| format!("set the host name {name:?}"))?;
        }
        if !request.dns.is_empty() {
            self.write_resolv_conf(root, &request.dns)?;
        }
        self.0.storages.add(&request.storages).await?;
        Ok(Empty::new())
    }

    /// Writes `sandbox/resolv.conf`, and in a guest `/etc/resolv.conf`, too.
    fn write_resolv_conf(&self, root: &Path, lines: &[String]) -> Result<()> {
        let directory = root.join("sandbox");
        fs::create_dir_all(&directory).on("create", &directory)?;
        let mut text = lines.join("\n");
        text.push('\n');
        let file = directory.join("resolv.conf");
        fs::write(&file, &text).on("write", &file)?;
        if self.0.settings.init {
            let own = Path::new("/etc/resolv.conf");
            fs::write(own, &text).on("write", own)?;
        }
        Ok(())
    }

    /// Ends the sandbox. A guest then powers off.
    pub(super) async fn destroy_sandbox(
        &self,
        _request: agent::DestroySandboxRequest,
    ) -> Result<Empty> {
        self.0.remove_all_containers().await;
        self.0.storages.remove_all().await;
        log::cleanup_failure(&self.0.log, shared_root::end(&self.0.settings.root));
        if self.0.settings.init {
            tokio::spawn(boot::power_off_soon(self.0.log.clone()));
        }
        Ok(Empty::new())
    }

    pub(super) async fn update_ephemeral_mounts(
        &self,
        request: agent::UpdateEphemeralMountsRequest,
    ) -> Result<Empty> {
        self.0.storages.remount(&request.storages)?;
        Ok(Empty::new())
    }

    /// This agent cannot enforce a policy, and must not seem to.
    pub(super) async fn set_policy(&self, _: agent::SetPolicyRequest) -> Result<Empty> {
        unsupported("policies")
    }

    /// There is no shared file system, and so no stale mount of one.
    pub(super) async fn remove_stale_virtiofs_share_mounts(
        &self,
        _: agent::RemoveStaleVirtiofsShareMountsRequest,
    ) -> Result<Empty> {
        Ok(Empty::new())
    }

    pub(super) async fn get_ip_tables(
        &self,
        _: agent::GetIPTablesRequest,
    ) -> Result<agent::GetIPTablesResponse> {
        unsupported("iptables")
    }

    pub(super) async fn set_ip_tables(
        &self,
        _: agent::SetIPTablesRequest,
    ) -> Result<agent::SetIPTablesResponse> {
        unsupported("iptables")
    }

    pub(super) async fn get_metrics(&self, _: agent::GetMetricsRequest) -> Result<agent::Metrics> {
        unsupported("metrics")
    }

    pub(super) async fn mem_hotplug_by_probe(
        &self,
        _: agent::MemHotplugByProbeRequest,
    ) -> Result<Empty> {
        unsupported("memory probes")
    }

    pub(super) async fn add_swap(&self, _: agent::AddSwapRequest) -> Result<Empty> {
        unsupported("swap")
    }

    pub(super) async fn add_swap_path(&self, _: agent::AddSwapPathRequest) -> Result<Empty> {
        unsupported("swap")
    }

    pub(super) async fn resize_volume(&self, _: agent::ResizeVolumeRequest) -> Result<Empty> {
        unsupported("resizing volumes")
    }

    pub(super) async fn get_diagnostic_data(
        &self,
        request: agent::GetDiagnosticDataRequest,
    ) -> Result<agent::GetDiagnosticDataResponse> {
        let data = match request.log_type.as_str() {
            identity::LOG_TYPE => identity::report()?,
            termination::LOG_TYPE => {
                let container = self.0.container(&request.container_id)?;
                termination::message(container.termination_message.as_deref())?
            }
            _ => return unsupported("diagnostic data of this type"),
        };
        Ok(agent::GetDiagnosticDataResponse {
            data,
            ..Default::default()
        })
    }
}
