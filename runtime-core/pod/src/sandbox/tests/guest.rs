//! A guest without a machine: the agent's service over processes that do what a test tells them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use agent_client::{
    Agent,
    agent::{
        AgentDetails, CloseStdinRequest, CreateContainerRequest, CreateSandboxRequest,
        ExecProcessRequest, GetOOMEventRequest, GuestDetailsRequest, GuestDetailsResponse,
        OOMEvent, OnlineCPUMemRequest, PauseContainerRequest, ReadStreamRequest,
        ReadStreamResponse, RemoveContainerRequest, ResumeContainerRequest, SignalProcessRequest,
        StartContainerRequest, UpdateContainerRequest, WaitProcessRequest, WaitProcessResponse,
        WriteStreamRequest, WriteStreamResponse,
    },
    agent_ttrpc::{AgentService, create_agent_service},
};
use async_trait::async_trait;
use futures::stream;
use protobuf::well_known_types::empty::Empty;
use system::sync::Mutex;
use tokio::{
    io::{copy_bidirectional, duplex},
    sync::{Notify, mpsc, watch},
};
use ttrpc::{
    Code,
    asynchronous::{Server, TtrpcContext, transport::Listener},
};

/// The guest as a test sees it.
#[derive(Clone, Default)]
pub(super) struct Guest(Arc<Inner>);

#[derive(Default)]
struct Inner {
    processes: Mutex<HashMap<String, Arc<FakeProcess>>>,
    /// Calls in the order of their arrival, as `call id`.
    calls: Mutex<Vec<String>>,
    /// Calls that fail, by name.
    failing: Mutex<Vec<&'static str>>,
    /// While set, `StartContainer` waits.
    held: watch::Sender<bool>,
    /// Calls that are never answered, by name.
    silent: Mutex<Vec<&'static str>>,
    /// Reports without end that this container is out of memory.
    short_of_memory: watch::Sender<Option<String>>,
    /// Signals do not reach the processes.
    deaf: Mutex<bool>,
    /// What the agent says that it can do beyond the stock one.
    features: Vec<String>,
    hung_up: Notify,
}

/// One process in the guest.
pub(super) struct FakeProcess {
    stdout: Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>,
    output: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
    unread: AtomicUsize,
    exit: watch::Sender<Option<i32>>,
    /// What it was given to read.
    pub(super) stdin: Mutex<Vec<u8>>,
    /// Its input has ended.
    pub(super) stdin_closed: watch::Sender<bool>,
}

impl Guest {
    /// One whose agent says this of itself.
    pub(super) fn with_feature(feature: &str) -> Self {
        Self(Arc::new(Inner {
            features: vec![feature.to_owned()],
            ..Inner::default()
        }))
    }

    /// Connects to the guest's agent.
    pub(super) async fn connect(&self) -> Agent {
        let (host, mut near) = duplex(1 << 20);
        let (mut far, guest) = duplex(1 << 20);
        let listener = Listener::new(stream::iter([Ok(guest)]));
        let service = create_agent_service(Arc::new(self.clone()));
        let mut server = Server::new()
            .add_listener(listener)
            .register_service(service);
        server.start().await.unwrap();
        let inner = self.0.clone();
        tokio::spawn(async move {
            let _served = server;
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = inner.hung_up.notified() => {}
            }
        });
        Agent::over(host)
    }

    /// Ends every connection.
    pub(super) fn hang_up(&self) {
        self.0.hung_up.notify_one();
    }

    /// Makes a call fail from now on.
    pub(super) fn fail(&self, call: &'static str) {
        self.0.failing.lock().push(call);
    }

    /// Reports from now on, as often as it is asked, that a container is out of memory.
    pub(super) fn run_out_of_memory(&self, container: &str) {
        self.0
            .short_of_memory
            .send_replace(Some(container.to_owned()));
    }

    /// Leaves a call without an answer from now on.
    pub(super) fn silence(&self, call: &'static str) {
        self.0.silent.lock().push(call);
    }

    /// Acknowledges signals from now on, and does nothing about them.
    pub(super) fn ignore_signals(&self) {
        *self.0.deaf.lock() = true;
    }

    async fn unless_silent(&self, call: &'static str) {
        if self.0.silent.lock().contains(&call) {
            std::future::pending::<()>().await;
        }
    }

    /// Makes starts wait until they are let go.
    pub(super) fn hold_starts(&self, hold: bool) {
        self.0.held.send_replace(hold);
    }

    pub(super) fn process(&self, exec: &str) -> Arc<FakeProcess> {
        self.0.processes.lock()[exec].clone()
    }

    pub(super) fn calls(&self, name: &str) -> usize {
        self.0
            .calls
            .lock()
            .iter()
            .filter(|call| call.starts_with(name))
            .count()
    }

    fn arrive(&self, call: &'static str, id: &str) -> ttrpc::Result<()> {
        self.0.calls.lock().push(format!("{call} {id}"));
        if self.0.failing.lock().contains(&call) {
            return Err(status(Code::INTERNAL, "told to fail"));
        }
        Ok(())
    }

    fn add(&self, exec: String) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let process = FakeProcess {
            stdout: Mutex::new(Some(sender)),
            output: tokio::sync::Mutex::new(receiver),
            unread: AtomicUsize::new(0),
            exit: watch::Sender::new(None),
            stdin: Mutex::default(),
            stdin_closed: watch::Sender::new(false),
        };
        self.0.processes.lock().insert(exec, Arc::new(process));
    }

    fn known(&self, exec: &str) -> ttrpc::Result<Arc<FakeProcess>> {
        let processes = self.0.processes.lock();
        processes
            .get(exec)
            .cloned()
            .ok_or_else(|| status(Code::NOT_FOUND, "no such process"))
    }
}

impl FakeProcess {
    /// Writes to standard output.
    pub(super) fn write(&self, data: &[u8]) {
        self.unread.fetch_add(1, Ordering::SeqCst);
        let stdout = self.stdout.lock();
        stdout.as_ref().unwrap().send(data.to_vec()).unwrap();
    }

    /// Whether the host has taken all that was written.
    pub(super) fn is_read(&self) -> bool {
        self.unread.load(Ordering::SeqCst) == 0
    }

    /// Closes its streams.
    pub(super) fn close_output(&self) {
        self.stdout.lock().take();
    }

    /// Exits, with its streams left as they are.
    pub(super) fn exit_only(&self, status: i32) {
        self.exit.send_replace(Some(status));
    }

    /// Exits.
    pub(super) fn exit(&self, status: i32) {
        self.close_output();
        self.exit_only(status);
    }
}

fn status(code: Code, message: &str) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message))
}

#[async_trait]
impl AgentService for Guest {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        _: CreateSandboxRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("create_sandbox", "")?;
        Ok(Empty::new())
    }

    async fn get_guest_details(
        &self,
        _: &TtrpcContext,
        _: GuestDetailsRequest,
    ) -> ttrpc::Result<GuestDetailsResponse> {
        let agent_details = AgentDetails {
            extra_features: self.0.features.clone(),
            ..Default::default()
        };
        Ok(GuestDetailsResponse {
            agent_details: Some(agent_details).into(),
            ..Default::default()
        })
    }

    async fn create_container(
        &self,
        _: &TtrpcContext,
        request: CreateContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("create_container", &request.container_id)?;
        self.unless_silent("create_container").await;
        self.add(request.container_id);
        Ok(Empty::new())
    }

    async fn start_container(
        &self,
        _: &TtrpcContext,
        request: StartContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("start_container", &request.container_id)?;
        self.unless_silent("start_container").await;
        let _ = self.0.held.subscribe().wait_for(|held| !*held).await;
        self.known(&request.container_id)?;
        Ok(Empty::new())
    }

    async fn exec_process(
        &self,
        _: &TtrpcContext,
        request: ExecProcessRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("exec_process", &request.exec_id)?;
        self.add(request.exec_id);
        Ok(Empty::new())
    }

    async fn signal_process(
        &self,
        _: &TtrpcContext,
        request: SignalProcessRequest,
    ) -> ttrpc::Result<Empty> {
        let exec = if request.exec_id.is_empty() {
            request.container_id
        } else {
            request.exec_id
        };
        self.arrive("signal_process", &exec)?;
        self.unless_silent("signal_process").await;
        let process = self.known(&exec)?;
        if matches!(request.signal, 9 | 15) && !*self.0.deaf.lock() {
            process.exit(128 + i32::try_from(request.signal).unwrap());
        }
        Ok(Empty::new())
    }

    async fn wait_process(
        &self,
        _: &TtrpcContext,
        request: WaitProcessRequest,
    ) -> ttrpc::Result<WaitProcessResponse> {
        self.arrive("wait_process", &request.exec_id)?;
        let process = self.known(&request.exec_id)?;
        let mut exit = process.exit.subscribe();
        let status = exit.wait_for(Option::is_some).await.unwrap().unwrap();
        // As the stock agent does: whoever comes later finds nothing.
        self.0.processes.lock().remove(&request.exec_id);
        Ok(WaitProcessResponse {
            status,
            ..Default::default()
        })
    }

    async fn remove_container(
        &self,
        _: &TtrpcContext,
        request: RemoveContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("remove_container", &request.container_id)?;
        Ok(Empty::new())
    }

    async fn read_stdout(
        &self,
        _: &TtrpcContext,
        request: ReadStreamRequest,
    ) -> ttrpc::Result<ReadStreamResponse> {
        let process = self.known(&request.exec_id)?;
        let data = process.output.lock().await.recv().await.unwrap_or_default();
        if !data.is_empty() {
            process.unread.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(ReadStreamResponse {
            data,
            ..Default::default()
        })
    }

    async fn read_stderr(
        &self,
        _: &TtrpcContext,
        _: ReadStreamRequest,
    ) -> ttrpc::Result<ReadStreamResponse> {
        Ok(ReadStreamResponse::new())
    }

    async fn write_stdin(
        &self,
        _: &TtrpcContext,
        request: WriteStreamRequest,
    ) -> ttrpc::Result<WriteStreamResponse> {
        let process = self.known(&request.exec_id)?;
        process.stdin.lock().extend(&request.data);
        let len = u32::try_from(request.data.len()).unwrap();
        Ok(WriteStreamResponse {
            len,
            ..Default::default()
        })
    }

    async fn close_stdin(
        &self,
        _: &TtrpcContext,
        request: CloseStdinRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("close_stdin", &request.exec_id)?;
        self.known(&request.exec_id)?
            .stdin_closed
            .send_replace(true);
        Ok(Empty::new())
    }

    async fn pause_container(
        &self,
        _: &TtrpcContext,
        request: PauseContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("pause_container", &request.container_id)?;
        Ok(Empty::new())
    }

    async fn resume_container(
        &self,
        _: &TtrpcContext,
        request: ResumeContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("resume_container", &request.container_id)?;
        Ok(Empty::new())
    }

    async fn update_container(
        &self,
        _: &TtrpcContext,
        request: UpdateContainerRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("update_container", &request.container_id)?;
        Ok(Empty::new())
    }

    async fn online_cpu_mem(
        &self,
        _: &TtrpcContext,
        request: OnlineCPUMemRequest,
    ) -> ttrpc::Result<Empty> {
        self.arrive("online_cpu_mem", &request.nb_cpus.to_string())?;
        Ok(Empty::new())
    }

    async fn get_oom_event(
        &self,
        _: &TtrpcContext,
        _: GetOOMEventRequest,
    ) -> ttrpc::Result<OOMEvent> {
        self.arrive("get_oom_event", "")?;
        let mut short = self.0.short_of_memory.subscribe();
        let container = short.wait_for(Option::is_some).await.unwrap().clone();
        Ok(OOMEvent {
            container_id: container.unwrap(),
            ..Default::default()
        })
    }
}
