//! One unary gRPC call over a unix socket: HTTP/2, one message each way, a status in the trailers.

use std::{path::Path, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client};
use http::{HeaderMap, Request};
use protobuf::Message;

use crate::{Error, Result};

/// Length of the prefix of a message: a flag for compression, and four bytes of length.
const PREFIX: usize = 5;

/// What made a call end without an answer.
enum Failure {
    Transport(String),
    Status { code: i32, message: String },
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Transport(error.to_string())
    }
}

/// Calls a method of `runtime.v1.RuntimeService` on a connection of its own, so that a restarted
/// server is no special case.
pub(super) fn call<Q: Message, R: Message>(
    socket: &Path,
    method: &'static str,
    request: &Q,
    within: Duration,
) -> Result<R> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("Starting an executor for", socket))?;
    let answer = runtime
        .block_on(async { tokio::time::timeout(within, exchange(socket, method, request)).await });
    let answer = answer.map_err(|_| Error::Timeout {
        waited_for: format!("the answer to {method}"),
        waited: within,
    })?;
    answer.map_err(|failure| match failure {
        Failure::Status { code, message } => Error::Rpc {
            method,
            code,
            message,
        },
        Failure::Transport(message) => Error::Unexpected(format!("{method}: {message}")),
    })
}

async fn exchange<Q: Message, R: Message>(
    socket: &Path,
    method: &str,
    request: &Q,
) -> Result<R, Failure> {
    let stream = tokio::net::UnixStream::connect(socket).await?;
    let (mut sender, connection) = client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let head = Request::post(format!(
        "http://localhost/runtime.v1.RuntimeService/{method}"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())?;
    let (answer, mut body) = sender.send_request(head, false)?;
    body.send_data(framed(request)?, true)?;
    let (head, mut body) = answer.await?.into_parts();
    status(&head.headers)?;
    let message = read(&mut body).await?;
    let trailers = body.trailers().await?.unwrap_or_default();
    status(&trailers)?;
    connection.abort();
    let message = message
        .get(PREFIX..)
        .ok_or_else(|| Failure::Transport("the answer holds no message".to_owned()))?;
    Ok(R::parse_from_bytes(message)?)
}

fn framed<Q: Message>(request: &Q) -> Result<Bytes, Failure> {
    let message = request.write_to_bytes()?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len())?);
    framed.put_slice(&message);
    Ok(framed.freeze())
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        all.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len())?;
    }
    Ok(all)
}

/// The status that headers or trailers carry; an answer that failed at once has it in the headers.
fn status(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code.unwrap_or(0) {
        0 => Ok(()),
        code => Err(Failure::Status {
            code,
            message: text("grpc-message")
                .unwrap_or_default()
                .replace("%0A", "\n"),
        }),
    }
}
