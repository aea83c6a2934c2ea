//! The task that owns a sandbox: its state, its queue, and the routing of requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use agent_client::Agent;
use hypervisors::Vm;
use resources::PodResources;
use slog::{Logger, crit, debug, o, warn};
use system::{error::chain, time::pause};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinSet,
};
use volumes::Volumes;

use super::{
    Error, Event, NewSandbox,
    request::{Action, Reply, Request, TaskState},
};
use crate::{
    container::{self, Container, CreatePhases, NewContainer, RootDisks},
    io::{Input, Outputs},
    process::{
        Phase, Process, TaskId,
        policy::{Role, Verdict, decide},
    },
};

/// A change of the owner's state that an operation returns.
pub(super) type Commit = Box<dyn FnOnce(&mut Owner) + Send>;

/// The pause between an out-of-memory report of the guest and the call for the next.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// The state of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    /// It runs, and requests are accepted.
    Running,
    /// The VM is being ended for this reason; nothing new is started.
    Stopping(String),
    /// The VM has ended for this reason; processes can be deleted.
    Ended(String),
}

/// Makes a commit of a closure.
pub(super) fn commit(change: impl FnOnce(&mut Owner) + Send + 'static) -> Commit {
    Box::new(change)
}

pub(super) struct Owner {
    pub(super) vm: Arc<dyn Vm>,
    pub(super) agent: Agent,
    volumes: Arc<Volumes>,
    pub(super) disks: Arc<RootDisks>,
    pub(super) resources: Arc<PodResources>,
    pub(super) log: Logger,
    pub(super) main: String,
    pub(super) life: Life,
    /// Why the host's OOM killer took the VM, if it did.
    pub(super) out_of_memory: Option<String>,
    pub(super) containers: HashMap<String, Container>,
    /// Requests that wait for a call to the agent about their process.
    deferred: HashMap<TaskId, VecDeque<Action>>,
    /// Number of started processes that have not ended.
    pub(super) live: watch::Sender<usize>,
    pub(super) ended: watch::Sender<bool>,
    events: mpsc::Sender<Event>,
    queue: mpsc::Receiver<Request>,
    operations: JoinSet<Commit>,
}

impl Owner {
    pub(super) fn new(
        new: NewSandbox,
        queue: mpsc::Receiver<Request>,
    ) -> (Self, watch::Receiver<bool>) {
        let (ended, receiver) = watch::channel(false);
        let log = new.log.new(o!("sandbox" => new.id.clone()));
        let volumes = Volumes::new(
            (new.id.clone(), new.pod_uid),
            new.volumes,
            new.agent.clone(),
            new.vm.clone(),
            log.clone(),
        );
        let owner = Self {
            vm: new.vm,
            agent: new.agent,
            volumes: Arc::new(volumes),
            disks: Arc::new(new.disks),
            resources: Arc::new(new.resources),
            log,
            main: new.id,
            life: Life::Running,
            out_of_memory: None,
            containers: HashMap::new(),
            deferred: HashMap::new(),
            live: watch::Sender::new(0),
            ended,
            events: new.events,
            queue,
            operations: JoinSet::new(),
        };
        (owner, receiver)
    }

    /// Runs until every handle is gone.
    pub(super) async fn run(mut self) {
        self.watch_vm();
        self.watch_agent();
        self.watch_memory(Duration::ZERO);
        loop {
            tokio::select! {
                request = self.queue.recv() => match request {
                    Some(request) => self.accept(request),
                    None => return,
                },
                Some(done) = self.operations.join_next() => match done {
                    Ok(commit) => commit(&mut self),
                    Err(error) => crit!(self.log, "operation lost"; "error" => chain(&error)),
                },
            }
        }
    }

    /// Starts an operation, whose commit runs later.
    pub(super) fn run_aside<F>(&mut self, operation: F)
    where
        F: Future<Output = Commit> + Send + 'static,
    {
        self.operations.spawn(operation);
    }

    /// Starts an operation that does not change the owner's state; its result is the answer.
    pub(super) fn answer_aside<T, F>(&mut self, operation: F, reply: Reply<T>)
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        self.run_aside(async move {
            let _ = reply.send(operation.await);
            commit(|_| {})
        });
    }

    /// Publishes an event that the guest can cause any number of times.
    fn publish_report(&self, event: Event) {
        if self.events.capacity() <= self.events.max_capacity() / 2 {
            debug!(self.log, "report of the guest dropped"; "event" => ?event);
        } else {
            self.publish(event);
        }
    }

    pub(super) fn publish(&self, event: Event) {
        match self.events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => debug!(self.log, "no event subscriber"),
            Err(TrySendError::Full(event)) => {
                warn!(self.log, "event dropped"; "reason" => "too many wait", "event" => ?event);
            }
        }
    }

    pub(super) fn process(&mut self, id: &TaskId) -> Option<&mut Process> {
        let container = self.containers.get_mut(&id.container)?;
        match &id.exec {
            None => Some(&mut container.init),
            Some(exec) => container.execs.get_mut(exec),
        }
    }

    fn accept(&mut self, request: Request) {
        match request {
            Request::Create(new, reply) => self.create(*new, reply),
            Request::Task(id, action) => self.route(id, action),
            Request::SignalAll(container, signal, reply) => {
                self.signal_all(&container, signal, reply);
            }
            Request::Count(reply) => drop(reply.send(self.containers.len())),
            Request::Stop => self.stop_now("it was asked to stop"),
        }
    }

    /// Applies the policy to a request for one process.
    pub(super) fn route(&mut self, id: TaskId, action: Action) {
        let role = if id.exec.is_none() {
            Role::Init
        } else {
            Role::Exec
        };
        let Some(process) = self.process(&id) else {
            return action.refuse(Error::NotFound(id));
        };
        let phase = process.phase;
        let Some(verb) = action.verb() else {
            return self.answer(&id, action);
        };
        match decide(role, phase, verb) {
            Verdict::Go => self.perform(id, action),
            Verdict::Later => self.deferred.entry(id).or_default().push_back(action),
            Verdict::Already => action.already(),
            Verdict::Refuse => action.refuse(Error::WrongPhase {
                task: id,
                verb,
                phase,
            }),
            Verdict::Absent => action.refuse(Error::NoProcess { task: id, phase }),
        }
    }

    /// Answers a request that only reads.
    fn answer(&mut self, id: &TaskId, action: Action) {
        let Some(bundle) = self.containers.get(&id.container).map(|c| c.bundle.clone()) else {
            return action.refuse(Error::NotFound(id.clone()));
        };
        let Some(process) = self.process(id) else {
            return action.refuse(Error::NotFound(id.clone()));
        };
        match action {
            Action::Wait(reply) => drop(reply.send(Ok(process.exit.subscribe()))),
            Action::State(reply) => drop(reply.send(Ok(TaskState {
                phase: process.phase,
                bundle,
                stdio: process.stdio.clone(),
                exit: process.exited(),
            }))),
            other => other.refuse(Error::NotFound(id.clone())),
        }
    }

    /// Sets a phase in which requests are accepted, and handles the requests that waited for it.
    pub(super) fn settle(&mut self, id: &TaskId, phase: Phase) {
        let Some(process) = self.process(id) else {
            return;
        };
        process.phase = phase;
        for action in self.deferred.remove(id).unwrap_or_default() {
            self.route(id.clone(), action);
        }
    }

    fn create(&mut self, new: NewContainer, reply: Reply<CreatePhases>) {
        let id = TaskId::new(new.id.clone(), "");
        match self.admit(&new, &id) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(container) => {
                self.containers.insert(new.id.clone(), container);
                self.make(id, new, reply);
            }
        }
    }

    fn admit(&self, new: &NewContainer, id: &TaskId) -> Result<Container, Error> {
        self.accepting()?;
        if self.containers.contains_key(&new.id) {
            return Err(Error::AlreadyExists(id.clone()));
        }
        let mut init = Process::new(Phase::Creating, new.stdio.clone(), None);
        open_streams(&mut init)?;
        Ok(Container {
            bundle: new.bundle.path.clone(),
            init,
            execs: HashMap::new(),
            held: None,
        })
    }

    fn make(&mut self, id: TaskId, new: NewContainer, reply: Reply<CreatePhases>) {
        let created = Event::Created {
            container: new.id.clone(),
            bundle: new.bundle.path.clone(),
            mounts: new.mounts.clone(),
            stdio: new.stdio.clone(),
        };
        let (vm, agent, log) = (self.vm.clone(), self.agent.clone(), self.log.clone());
        let (volumes, resources) = (self.volumes.clone(), self.resources.clone());
        let disks = self.disks.clone();
        self.run_aside(async move {
            let admitted = resources.admit(&new.id, &new.bundle.spec).await;
            let made = match admitted {
                Ok(()) => container::create(vm, agent, volumes, disks, new, log)
                    .await
                    .map_err(Error::from),
                Err(error) => Err(error.into()),
            };
            commit(move |owner| match made {
                Ok((held, phases)) => {
                    if let Some(container) = owner.containers.get_mut(&id.container) {
                        container.held = Some(held);
                    }
                    owner.publish(created);
                    let _ = reply.send(Ok(phases));
                    if owner.has_ended() {
                        owner.lose(&id);
                    } else {
                        owner.settle(&id, Phase::Created);
                    }
                }
                Err(error) => {
                    owner.forget(&id.container);
                    let _ = reply.send(Err(owner.explained(error)));
                }
            })
        });
    }

    /// Drops a container; requests that wait for it fail with [`Error::NotFound`].
    pub(super) fn forget(&mut self, container: &str) {
        self.resources.forget(container);
        self.containers.remove(container);
        let its = |id: &TaskId, _: &mut VecDeque<Action>| id.container == container;
        for (id, actions) in self.deferred.extract_if(its) {
            for action in actions {
                action.refuse(Error::NotFound(id.clone()));
            }
        }
    }

    pub(super) fn accepting(&self) -> Result<(), Error> {
        match &self.life {
            Life::Running => Ok(()),
            Life::Stopping(why) | Life::Ended(why) => Err(Error::Ended(why.clone())),
        }
    }

    /// Waits, after a pause, for the guest's next out-of-memory report. Ends with the agent.
    fn watch_memory(&mut self, after: Duration) {
        let agent = self.agent.clone();
        self.run_aside(async move {
            pause("a guest may report as often as it likes", after).await;
            let report = agent.get_oom_event().await;
            commit(move |owner| match report {
                Ok(container) => {
                    if owner.containers.contains_key(&container) {
                        owner.publish_report(Event::OutOfMemory(container));
                    }
                    owner.watch_memory(REPORT_PAUSE);
                }
                Err(error) => {
                    debug!(owner.log, "out-of-memory reports ended"; "error" => chain(&error))
                }
            })
        });
    }
}

/// Opens a process's streams, and stores them until its start.
pub(super) fn open_streams(process: &mut Process) -> Result<(), Error> {
    let failed = |(path, source)| Error::Stream { path, source };
    let (input, hold) = Input::open(process.stdio.stdin.as_deref()).map_err(failed)?;
    let outputs = Outputs::open(&process.stdio).map_err(failed)?;
    process.streams = Some((input, outputs));
    process.hold = if process.input_closed { None } else { hold };
    Ok(())
}
