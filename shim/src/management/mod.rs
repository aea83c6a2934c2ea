//! The shim's management socket: HTTP over a unix socket in the sandbox's directory, for the
//! node's collectors of metrics.
//!
//! * `GET /metrics`: the metrics, as Prometheus reads them.
//! * `GET /start`: how the sandbox was started, its start report.
//!
//! Only root can connect. What a client may cost is bounded all the same: few connections at once,
//! one request each, short headers, no body, and little time.

mod metrics;

use std::{
    convert::Infallible, fs::File, io, os::fd::AsRawFd, path::Path, sync::Arc, time::Duration,
};

use factory::start::StartReport;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use pod::state::MANAGEMENT_SOCKET;
use slog::{Logger, debug};
use system::socket::listen_privately;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::AbortHandle,
    time::timeout,
};

pub use self::metrics::Metrics;

const SOCKET: &str = MANAGEMENT_SOCKET;

/// Connections served at once; further ones wait in the socket's queue.
const CONNECTIONS: usize = 4;
/// How long a connection may last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest request, in bytes; the least that the server allows.
const MAX_REQUEST: usize = 8192;

/// A socket that is served until this is dropped. Its file goes with the sandbox's directory.
#[derive(Debug)]
pub struct Management(AbortHandle);

impl Drop for Management {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a client can read.
struct Served {
    metrics: Metrics,
    /// The start report, as JSON.
    start: Bytes,
}

impl Management {
    /// Serves in `directory`, which is private.
    ///
    /// # Errors
    /// The socket was not made; the pod does not depend on it.
    pub fn serve(
        directory: &Path,
        metrics: Metrics,
        report: &StartReport,
        log: &Logger,
    ) -> io::Result<Self> {
        let listener = bind(directory)?;
        let served = Arc::new(Served {
            metrics,
            start: report.to_json()?.into(),
        });
        let task = tokio::spawn(accept(listener, served, log.clone()));
        Ok(Self(task.abort_handle()))
    }
}

/// Makes a socket of mode 0600, by the directory's descriptor: with a long identifier, of a
/// container that is no pod of a node, its path may be longer than one may be bound to.
fn bind(directory: &Path) -> io::Result<UnixListener> {
    let directory = File::open(directory)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    let listener = listen_privately(Path::new(&path))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn accept(listener: UnixListener, served: Arc<Served>, log: Logger) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(log, "management socket: a connection was lost"; "error" => %error);
                continue;
            }
        };
        let (served, log) = (served.clone(), log.clone());
        tokio::spawn(async move {
            match timeout(TIMEOUT, answer(stream, served)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(log, "management socket: a request failed"; "error" => %error);
                }
                Err(_) => debug!(log, "management socket: a client was too slow"),
            }
            drop(place);
        });
    }
}

async fn answer(stream: UnixStream, served: Arc<Served>) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let response = respond(&request, &served);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn respond(request: &Request<Incoming>, served: &Served) -> Response<Full<Bytes>> {
    let (kind, body) = match request.uri().path() {
        "/metrics" => (metrics::CONTENT_TYPE, Bytes::from(served.metrics.text())),
        "/start" => ("application/json", served.start.clone()),
        _ => return status(StatusCode::NOT_FOUND),
    };
    if request.method() != Method::GET {
        let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::management::metrics::tests::{sample, started};

    fn serve(directory: &Path) -> Management {
        let log = Logger::root(slog::Discard, slog::o!());
        Management::serve(directory, sample(), &started(), &log).unwrap()
    }

    async fn ask(directory: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(directory.join(SOCKET)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_and_start_are_told_to_root_only_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let management = serve(directory.path());
        let mode = directory
            .path()
            .join(SOCKET)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let metrics = ask(directory.path(), &get("/metrics")).await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
        assert!(
            metrics.contains("imprint_template_fallbacks_total{reason=\"absent\"} 1"),
            "{metrics}"
        );
        let start = ask(directory.path(), &get("/start")).await;
        assert!(start.ends_with(&started().to_json().unwrap()), "{start}");
        assert!(
            ask(directory.path(), &get("/../state.json"))
                .await
                .starts_with("HTTP/1.1 404")
        );
        let post = ask(
            directory.path(),
            "POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .await;
        assert!(post.starts_with("HTTP/1.1 405"), "{post}");
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * MAX_REQUEST));
        let mut stream = UnixStream::connect(directory.path().join(SOCKET))
            .await
            .unwrap();
        // The server hangs up in the middle of it.
        let _ = stream.write_all(long.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"));

        drop(management);
        tokio::task::yield_now().await;
        assert!(
            UnixStream::connect(directory.path().join(SOCKET))
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_do_not_keep_others_out() {
        let directory = tempfile::tempdir().unwrap();
        let _management = serve(directory.path());
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            silent.push(
                UnixStream::connect(directory.path().join(SOCKET))
                    .await
                    .unwrap(),
            );
        }
        let answer = ask(directory.path(), "GET /start HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}
