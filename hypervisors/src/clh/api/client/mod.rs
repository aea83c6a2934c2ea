//! One request, one connection: a call that was cancelled leaves nothing behind that the next one
//! could mistake for its own.

use std::{io, path::PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use tokio::{net::UnixStream, task::JoinHandle, time::timeout};

use crate::control::ControlError;

use super::{
    calls::{Call, Passed},
    fd_stream::FdStream,
};

/// The longest answer that is taken. The longest that is asked for has some 10 KiB.
const ANSWER_LIMIT: usize = 1 << 20;
/// The most characters of a refusal that are reported.
const REASON_LIMIT: usize = 2000;

/// The API behind one socket.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The API that listens on `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Makes a call; `passed` travels with its first byte.
    pub async fn call<C: Call>(&self, call: &C, passed: Passed) -> Result<C::Reply, ControlError> {
        let exchange = self.exchange(call, passed);
        match timeout(C::TIMEOUT, exchange).await {
            Ok(done) => done,
            Err(_) => Err(ControlError::Timeout {
                waited_for: format!("Cloud Hypervisor's answer to {}", C::NAME),
                waited: C::TIMEOUT,
            }),
        }
    }

    async fn exchange<C: Call>(&self, call: &C, passed: Passed) -> Result<C::Reply, ControlError> {
        let request = request(call)?;
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| closed(&error))?;
        let stream = FdStream::new(stream, passed);
        let (mut sender, connection) = http1::Builder::new()
            // Head and body in one buffer: they go out in one message.
            .writev(false)
            .handshake(stream)
            .await
            .map_err(|error| failure(&error))?;
        let _driver = Driver(tokio::spawn(async move {
            // Whatever ends it ends the answer too, which says so.
            let _ = connection.await;
        }));
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failure(&error))?;
        let status = response.status();
        let body = body(response.into_body()).await?;
        reply::<C>(status, &body)
    }
}

/// The task that moves the bytes of one connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request<C: Call>(call: &C) -> Result<Request<Full<Bytes>>, ControlError> {
    let body = serde_json::to_vec(call).map_err(|error| invalid::<C>(&error))?;
    let body = if body == b"null" { Vec::new() } else { body };
    Request::builder()
        .method(C::METHOD)
        .uri(format!("/api/v1/{}", C::NAME))
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| invalid::<C>(&error))
}

async fn body(body: Incoming) -> Result<Bytes, ControlError> {
    match Limited::new(body, ANSWER_LIMIT).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(failure(&error)),
            Err(_) => Err(ControlError::Invalid(format!(
                "an answer of more than {ANSWER_LIMIT} bytes"
            ))),
        },
    }
}

fn reply<C: Call>(status: StatusCode, body: &[u8]) -> Result<C::Reply, ControlError> {
    if !status.is_success() {
        return Err(ControlError::Refused {
            request: C::NAME,
            reason: reason(status, body),
        });
    }
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).map_err(|error| invalid::<C>(&error))
}

/// The VMM's words. It gives the whole chain of an error as a list of texts.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let words = match serde_json::from_slice::<Vec<String>>(body) {
        Ok(chain) => chain.join(": "),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_LIMIT)
        .collect();
    match words.trim() {
        "" => format!("status {status} without a reason"),
        words if status == StatusCode::INTERNAL_SERVER_ERROR => words.to_owned(),
        words => format!("{words} (status {status})"),
    }
}

fn invalid<C: Call>(error: &dyn std::fmt::Display) -> ControlError {
    ControlError::Invalid(format!("the value of {}: {error}", C::NAME))
}

fn closed(error: &io::Error) -> ControlError {
    ControlError::Closed(format!("the connection ended: {error}"))
}

fn failure(error: &hyper::Error) -> ControlError {
    let words = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if error.is_parse() {
        ControlError::Invalid(format!("no HTTP answer: {words}"))
    } else {
        ControlError::Closed(format!("the connection ended: {words}"))
    }
}

#[cfg(test)]
mod tests;
