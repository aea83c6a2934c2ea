//! The calls that need nothing but a request and its answer.
//!
//! Calls of the API that no caller needs are not here.

use super::{
    Agent,
    call::{Class, Method, Reply},
};
use crate::{agent, error::Result, types};

/// Defines the methods of calls whose answers are empty.
macro_rules! commands {
    ($($(#[$doc:meta])+ $name:ident = $wire:literal ($request:ident);)+) => {
        impl Agent {$(
            $(#[$doc])+
            ///
            /// # Errors
            ///
            /// See [`Error`](crate::Error): the agent may refuse, or not answer in time.
            pub async fn $name(&self, request: agent::$request) -> Result<()> {
                let method = Method::agent($wire, Class::Other, Reply::Structured);
                self.call_unit(&method, &request).await
            }
        )+}
    };
}

/// Defines the methods of calls whose answers have content.
macro_rules! queries {
    ($(
        $(#[$doc:meta])+
        $name:ident = $wire:literal ($request:ident) -> $answer:ty, $form:ident;
    )+) => {
        impl Agent {$(
            $(#[$doc])+
            ///
            /// # Errors
            ///
            /// See [`Error`](crate::Error): the agent may refuse, or not answer in time.
            pub async fn $name(&self, request: agent::$request) -> Result<$answer> {
                let method = Method::agent($wire, Class::Other, Reply::$form);
                self.call(&method, &request).await
            }
        )+}
    };
}

commands! {
    /// Makes a container's first process execute its program.
    start_container = "StartContainer" (StartContainerRequest);
    /// Kills the processes of a container that still run, and removes the container.
    remove_container = "RemoveContainer" (RemoveContainerRequest);
    /// Starts another process in a container.
    exec_process = "ExecProcess" (ExecProcessRequest);
    /// Signals a process. SIGKILL with an empty `exec_id` goes to all processes of the container.
    signal_process = "SignalProcess" (SignalProcessRequest);
    /// Changes a container's resource limits.
    update_container = "UpdateContainer" (UpdateContainerRequest);
    /// Freezes all processes of a container.
    pause_container = "PauseContainer" (PauseContainerRequest);
    /// Thaws all processes of a container.
    resume_container = "ResumeContainer" (ResumeContainerRequest);
    /// Ends the input of a process.
    close_stdin = "CloseStdin" (CloseStdinRequest);
    /// Sets the size of a process's terminal, in characters.
    tty_win_resize = "TtyWinResize" (TtyWinResizeRequest);
    /// Adds or replaces entries of the ARP table.
    add_arp_neighbors = "AddARPNeighbors" (AddARPNeighborsRequest);
    /// Sets up the sandbox: empties its directory, makes the shared namespaces, mounts its
    /// storages. Called once for each VM, and never before a template is saved.
    create_sandbox = "CreateSandbox" (CreateSandboxRequest);
    /// Kills all containers and powers the VM off. The connection may end before the answer comes.
    destroy_sandbox = "DestroySandbox" (DestroySandboxRequest);
    /// Brings hot-plugged CPUs and memory online.
    online_cpu_mem = "OnlineCPUMem" (OnlineCPUMemRequest);
    /// Adds entropy to the guest's random generator, which uses it at once. Empty data is refused.
    reseed_random_dev = "ReseedRandomDev" (ReseedRandomDevRequest);
    /// Sets the guest's wall clock.
    set_guest_date_time = "SetGuestDateTime" (SetGuestDateTimeRequest);
    /// Writes a piece of a file, of 1 MiB at most; or a directory or a symbolic link.
    copy_file = "CopyFile" (CopyFileRequest);
}

queries! {
    /// Reads a container's usage of CPU, memory, processes, disks and network.
    stats_container = "StatsContainer" (StatsContainerRequest)
        -> agent::StatsContainerResponse, Structured;
    /// Sets up a network interface, which is found by its PCI path or its MAC address.
    update_interface = "UpdateInterface" (UpdateInterfaceRequest) -> types::Interface, Structured;
    /// Adds routes, and returns all routes.
    update_routes = "UpdateRoutes" (UpdateRoutesRequest) -> agent::Routes, Structured;
    /// Lists the network interfaces except for the loopback.
    list_interfaces = "ListInterfaces" (ListInterfacesRequest) -> agent::Interfaces, Structured;
    /// Reads the guest's metrics in the text format of Prometheus.
    get_metrics = "GetMetrics" (GetMetricsRequest) -> agent::Metrics, OneString;
    /// Reads the version and the features of the agent.
    get_guest_details = "GetGuestDetails" (GuestDetailsRequest)
        -> agent::GuestDetailsResponse, Structured;
    /// Reads a text of the kind that the request names, such as a container's termination message.
    get_diagnostic_data = "GetDiagnosticData" (GetDiagnosticDataRequest)
        -> agent::GetDiagnosticDataResponse, OneString;
}
