//! The calls that are no more than a request and its answer.

use super::{
    Agent,
    call::{Class, Method, Reply},
};
use crate::{agent, csi, error::Result, types};

/// Writes the methods of calls that are answered with nothing.
macro_rules! commands {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal ($request:ident);)+) => {
        impl Agent {$(
            $(#[$doc])+
            ///
            /// # Errors
            ///
            /// Those of a call.
            pub async fn $name(&self, request: agent::$request) -> Result<()> {
                let method = Method::agent($wire, Class::Other, Reply::Structured);
                self.call_unit(&method, &request).await
            }
        )+}
    };
}

/// Writes the methods of calls that are answered with a message.
macro_rules! queries {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal ($request:ident) -> $answer:ty, $form:ident;)+) => {
        impl Agent {$(
            $(#[$doc])+
            ///
            /// # Errors
            ///
            /// Those of a call.
            pub async fn $name(&self, request: agent::$request) -> Result<$answer> {
                let method = Method::agent($wire, Class::Other, Reply::$form);
                self.call(&method, &request).await
            }
        )+}
    };
}

commands! {
    /// Releases a container's first process.
    start_container = "StartContainer" (StartContainerRequest);
    /// Kills what is left of a container and frees what it held.
    remove_container = "RemoveContainer" (RemoveContainerRequest);
    /// Makes another process in a container, and starts it.
    exec_process = "ExecProcess" (ExecProcessRequest);
    /// Signals a process. Signal 9 with an empty `exec_id` goes to all of the container.
    signal_process = "SignalProcess" (SignalProcessRequest);
    /// Changes a container's resource limits.
    update_container = "UpdateContainer" (UpdateContainerRequest);
    /// Remounts the sandbox's tmpfs storages with other options.
    update_ephemeral_mounts = "UpdateEphemeralMounts" (UpdateEphemeralMountsRequest);
    /// Freezes a container.
    pause_container = "PauseContainer" (PauseContainerRequest);
    /// Thaws a container.
    resume_container = "ResumeContainer" (ResumeContainerRequest);
    /// Ends a process's input.
    close_stdin = "CloseStdin" (CloseStdinRequest);
    /// Changes the size of a process's terminal.
    tty_win_resize = "TtyWinResize" (TtyWinResizeRequest);
    /// Adds or replaces neighbours.
    add_arp_neighbors = "AddARPNeighbors" (AddARPNeighborsRequest);
    /// Sets up the sandbox: wipes its directory, makes the shared namespaces, mounts. Once in a VM's
    /// life, and never before a template is saved.
    create_sandbox = "CreateSandbox" (CreateSandboxRequest);
    /// Kills all containers and ends the agent, and so the VM. The connection may end first.
    destroy_sandbox = "DestroySandbox" (DestroySandboxRequest);
    /// Brings plugged vCPUs and memory online.
    online_cpu_mem = "OnlineCPUMem" (OnlineCPUMemRequest);
    /// Adds entropy and makes the guest's generator use it. Empty data is refused.
    reseed_random_dev = "ReseedRandomDev" (ReseedRandomDevRequest);
    /// Tells the guest where memory was plugged, on machines without a notice for it.
    mem_hotplug_by_probe = "MemHotplugByProbe" (MemHotplugByProbeRequest);
    /// Sets the guest's clock.
    set_guest_date_time = "SetGuestDateTime" (SetGuestDateTimeRequest);
    /// Writes a piece of a file, at most 1 MiB of data.
    copy_file = "CopyFile" (CopyFileRequest);
    /// Swaps to a plugged disk.
    add_swap = "AddSwap" (AddSwapRequest);
    /// Swaps to a path of the guest.
    add_swap_path = "AddSwapPath" (AddSwapPathRequest);
    /// Grows a volume's file system to its disk.
    resize_volume = "ResizeVolume" (ResizeVolumeRequest);
    /// Unmounts what the host no longer shares.
    remove_stale_virtiofs_share_mounts = "RemoveStaleVirtiofsShareMounts" (RemoveStaleVirtiofsShareMountsRequest);
    /// Sets the policy by which the agent admits calls. Before `create_sandbox`.
    set_policy = "SetPolicy" (SetPolicyRequest);
}

queries! {
    /// Reads a container's usage.
    stats_container = "StatsContainer" (StatsContainerRequest) -> agent::StatsContainerResponse, Structured;
    /// Names and sets up a network interface, found by its MAC address.
    update_interface = "UpdateInterface" (UpdateInterfaceRequest) -> types::Interface, Structured;
    /// Adds routes and returns those that then exist.
    update_routes = "UpdateRoutes" (UpdateRoutesRequest) -> agent::Routes, Structured;
    /// Lists network interfaces.
    list_interfaces = "ListInterfaces" (ListInterfacesRequest) -> agent::Interfaces, Structured;
    /// Lists routes.
    list_routes = "ListRoutes" (ListRoutesRequest) -> agent::Routes, Structured;
    /// Reads the packet filter's rules.
    get_iptables = "GetIPTables" (GetIPTablesRequest) -> agent::GetIPTablesResponse, OneString;
    /// Replaces the packet filter's rules.
    set_iptables = "SetIPTables" (SetIPTablesRequest) -> agent::SetIPTablesResponse, OneString;
    /// Reads the guest's metrics, Prometheus text made by the guest.
    get_metrics = "GetMetrics" (GetMetricsRequest) -> agent::Metrics, OneString;
    /// Asks for what the guest can do.
    get_guest_details = "GetGuestDetails" (GuestDetailsRequest) -> agent::GuestDetailsResponse, Structured;
    /// Reads the usage of a volume.
    get_volume_stats = "GetVolumeStats" (VolumeStatsRequest) -> csi::VolumeStatsResponse, Structured;
    /// Reads a container's termination log or the like.
    get_diagnostic_data = "GetDiagnosticData" (GetDiagnosticDataRequest) -> agent::GetDiagnosticDataResponse, OneString;
}
