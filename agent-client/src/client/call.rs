//! One call: its timeout, its size limits, its errors.

use std::time::Duration;

use protobuf::{Message, well_known_types::empty::Empty};
use tokio::time::{Instant, timeout};
use ttrpc::{
    Code,
    asynchronous::Client,
    proto::{Request, Response},
};

use super::Agent;
use crate::{
    MAX_DATA, MAX_REPLY, MAX_REQUEST,
    error::{Error, Result, escape},
};

const AGENT: &str = "grpc.AgentService";
pub const HEALTH: &str = "grpc.Health";

/// Which timeout of [`Deadlines`](super::Deadlines) a call has.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    Check,
    CreateContainer,
    Other,
    /// None: the call is answered when something happens in the guest.
    LongPoll,
}

/// The form of an answer, which decides how long it may be. A decoded structure can take many times
/// its encoded length, since an empty element has two bytes on the wire; a decoded string cannot.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    Structured,
    OneString,
}

/// A method by its names on the wire, and how to call it.
#[derive(Debug)]
pub struct Method {
    service: &'static str,
    pub name: &'static str,
    class: Class,
    reply: Reply,
}

impl Method {
    pub const fn new(
        service: &'static str,
        name: &'static str,
        class: Class,
        reply: Reply,
    ) -> Self {
        Self {
            service,
            name,
            class,
            reply,
        }
    }

    pub const fn agent(name: &'static str, class: Class, reply: Reply) -> Self {
        Self::new(AGENT, name, class, reply)
    }
}

impl Agent {
    /// Makes a call whose answer is empty.
    pub(super) async fn call_unit(&self, method: &Method, request: &impl Message) -> Result<()> {
        self.call::<Empty>(method, request).await.map(drop)
    }

    /// Sends a request, and decodes the answer.
    pub(super) async fn call<R: Message>(
        &self,
        method: &Method,
        request: &impl Message,
    ) -> Result<R> {
        let call = method.name;
        let bytes = usize::try_from(request.compute_size()).unwrap_or(usize::MAX);
        if bytes > MAX_REQUEST {
            return Err(Error::RequestTooLarge {
                call,
                bytes,
                max: MAX_REQUEST,
            });
        }
        let deadline = self.deadline(method.class);
        let mut envelope = Request::new();
        envelope.service = method.service.to_owned();
        envelope.method = call.to_owned();
        envelope.timeout_nano = deadline.map_or(0, nanoseconds);
        envelope.payload = request
            .write_to_bytes()
            .map_err(|error| invalid(call, &error))?;

        let reply = self.exchange(call, envelope, deadline).await?;
        let max = match method.reply {
            Reply::Structured => MAX_REPLY,
            Reply::OneString => MAX_DATA,
        };
        let bytes = reply.payload.len();
        if bytes > max {
            return Err(Error::ReplyTooLarge { call, bytes, max });
        }
        R::parse_from_bytes(&reply.payload).map_err(|error| invalid(call, &error))
    }

    fn deadline(&self, class: Class) -> Option<Duration> {
        match class {
            Class::Check => Some(self.deadlines.check),
            Class::CreateContainer => Some(self.deadlines.create_container),
            Class::Other => Some(self.deadlines.other),
            Class::LongPoll => None,
        }
    }

    /// Sends an encoded request and waits for its answer.
    ///
    /// A task of its own does that. If the caller's future is dropped while the frame is being
    /// written, the task still completes the frame. A cut frame would end the connection.
    async fn exchange(
        &self,
        call: &'static str,
        request: Request,
        deadline: Option<Duration>,
    ) -> Result<Response> {
        let started = Instant::now();
        let client = self.client.clone();
        let mut closed = self.open.subscribe();
        let exchange = tokio::spawn(async move {
            tokio::select! {
                answer = ask(client, request, deadline) => answer,
                _ = closed.changed() => Err(ttrpc::Error::LocalClosed),
            }
        });
        let answer = exchange
            .await
            .unwrap_or_else(|ended| Err(ttrpc::Error::Socket(ended.to_string())));
        answer.map_err(|error| match deadline {
            Some(waited) if started.elapsed() >= waited => Error::Timeout {
                waited_for: format!("the agent's answer to {call}"),
                waited,
            },
            _ => self.explain(call, error),
        })
    }

    /// The error of a call from the ttrpc client's.
    fn explain(&self, call: &'static str, error: ttrpc::Error) -> Error {
        if let Some(violation) = self.fate.violation() {
            return invalid(call, &violation);
        }
        match error {
            ttrpc::Error::RpcStatus(status) => Error::Rpc {
                call,
                code: status.code.enum_value().unwrap_or(Code::UNKNOWN),
                message: escape(&status.message),
            },
            // The client's error for an answer that it could not decode.
            ttrpc::Error::Others(reason) if reason.starts_with("Unpack") => invalid(call, &reason),
            other => Error::Disconnected {
                call,
                reason: escape(&other.to_string()),
            },
        }
    }
}

/// The ttrpc client has the same deadline, but its error cannot be distinguished from other errors.
async fn ask(
    client: Client,
    request: Request,
    deadline: Option<Duration>,
) -> ttrpc::Result<Response> {
    match deadline {
        None => client.request(request).await,
        Some(deadline) => timeout(deadline, client.request(request))
            .await
            .unwrap_or(Err(ttrpc::Error::LocalClosed)),
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn invalid(call: &'static str, reason: &impl ToString) -> Error {
    Error::InvalidReply {
        call,
        reason: escape(&reason.to_string()),
    }
}
