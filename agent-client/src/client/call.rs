//! One call: its deadline, its bounds, its errors.

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

/// Which deadline holds.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    Check,
    CreateContainer,
    Other,
    /// Answered when something happens in the guest.
    LongPoll,
}

/// What an answer consists of. Decoding structure can take many times its encoded length, since
/// an empty element is two bytes on the wire; decoding one string cannot.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    Structured,
    OneString,
}

/// A method as the wire names it, and how it is to be called.
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
    /// Makes a call that is answered with nothing.
    pub(super) async fn call_unit(&self, method: &Method, request: &impl Message) -> Result<()> {
        self.call::<Empty>(method, request).await.map(drop)
    }

    /// Makes a call.
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

    /// Sends a request and waits for its answer.
    ///
    /// A task of its own does it: were the request's future dropped while the frame is being
    /// written, the client would have to end the connection, and with it every other call.
    async fn exchange(
        &self,
        call: &'static str,
        request: Request,
        deadline: Option<Duration>,
    ) -> Result<Response> {
        let started = Instant::now();
        let client = self.client.clone();
        let mut unwanted = self.wanted.subscribe();
        let exchange = tokio::spawn(async move {
            tokio::select! {
                answer = ask(client, request, deadline) => answer,
                _ = unwanted.changed() => Err(ttrpc::Error::LocalClosed),
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
            // The client's words for an answer that it could not decode.
            ttrpc::Error::Others(reason) if reason.starts_with("Unpack") => invalid(call, &reason),
            other => Error::Disconnected {
                call,
                reason: escape(&other.to_string()),
            },
        }
    }
}

/// The client keeps the deadline as well, but its own timer is not told apart from other failures.
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
