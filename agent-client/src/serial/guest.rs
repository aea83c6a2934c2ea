//! The guest's end: one port, one session after another.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinHandle,
};

use super::{
    BUFFER, Nonce,
    codec::{Decoder, encode, encode_mark},
};

/// The sessions that hosts begin on `port`, each a byte stream of its own.
///
/// A session ends (end of file on reading, `BrokenPipe` on writing) when the next one begins, and
/// not before: the stream has no sign for a host that went away. At most one is in progress.
///
/// `port` must stay pending while no host is connected, as [`super::Port`] does. A read of 0 bytes
/// is taken for the end of the port: the stream then ends. An error of the port is its last item.
///
/// A task moves the bytes; it lives as long as the returned value.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn sessions<P>(port: P) -> Sessions
where
    P: AsyncRead + AsyncWrite + Send + 'static,
{
    let (begun, incoming) = mpsc::channel(1);
    let (reader, writer) = tokio::io::split(port);
    let worker = Worker {
        input: Input::new(reader),
        writer,
        encoded: Vec::with_capacity(2 * BUFFER),
    };
    Sessions {
        incoming,
        task: tokio::spawn(async move {
            let Err(error) = worker.run(&begun).await;
            if error.kind() != io::ErrorKind::UnexpectedEof {
                let _receiver_gone = begun.send(Err(error)).await;
            }
        }),
    }
}

/// A stream of sessions; see [`sessions`].
#[derive(Debug)]
pub struct Sessions {
    incoming: mpsc::Receiver<io::Result<DuplexStream>>,
    task: JoinHandle<()>,
}

impl Stream for Sessions {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_recv(cx)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Owns the port and moves all its bytes.
struct Worker<P> {
    input: Input<P>,
    writer: WriteHalf<P>,
    encoded: Vec<u8>,
}

impl<P: AsyncRead + AsyncWrite> Worker<P> {
    /// Runs until the port fails; the end of the port is `UnexpectedEof`.
    async fn run(
        mut self,
        begun: &mpsc::Sender<io::Result<DuplexStream>>,
    ) -> io::Result<Infallible> {
        let mut nonce = self.input.seek_mark().await?;
        loop {
            self.encoded.clear();
            encode_mark(&nonce, &mut self.encoded);
            self.writer.write_all(&self.encoded).await?;
            self.writer.flush().await?;

            let (ours, theirs) = tokio::io::duplex(BUFFER);
            if begun.send(Ok(theirs)).await.is_err() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (from_server, to_server) = tokio::io::split(ours);
            nonce = tokio::select! {
                next = self.input.deliver(to_server) => next?,
                failed = send(from_server, &mut self.writer, &mut self.encoded) => return failed,
            };
        }
    }
}

/// Encodes what the server writes and sends it. When the server is done it stays pending: the next
/// session begins with a mark, which arrives on the other direction.
async fn send<P: AsyncWrite>(
    mut from_server: ReadHalf<DuplexStream>,
    port: &mut WriteHalf<P>,
    encoded: &mut Vec<u8>,
) -> io::Result<Infallible> {
    let mut data = vec![0; BUFFER].into_boxed_slice();
    loop {
        let read = from_server.read(&mut data).await?;
        if read == 0 {
            return std::future::pending().await;
        }
        encoded.clear();
        encode(&data[..read], encoded);
        port.write_all(encoded).await?;
        port.flush().await?;
    }
}

/// What comes in through the port: read and not yet decoded is `buffer[start..end]`.
struct Input<P> {
    port: ReadHalf<P>,
    decoder: Decoder,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<P: AsyncRead> Input<P> {
    fn new(port: ReadHalf<P>) -> Self {
        Self {
            port,
            decoder: Decoder::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Reads when all that was read is used.
    async fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.end = self.port.read(&mut self.buffer).await?;
            if self.end == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Discards everything up to the next mark.
    async fn seek_mark(&mut self) -> io::Result<Nonce> {
        loop {
            self.fill().await?;
            let (used, mark) = self.decoder.seek_mark(&self.buffer[self.start..self.end]);
            self.start += used;
            if let Some(nonce) = mark {
                return Ok(nonce);
            }
        }
    }

    /// Hands decoded data to the server until the next mark. What arrives after the server has let
    /// go of its session is discarded.
    async fn deliver(&mut self, mut to_server: WriteHalf<DuplexStream>) -> io::Result<Nonce> {
        let mut data = vec![0; BUFFER].into_boxed_slice();
        loop {
            self.fill().await?;
            let step = self
                .decoder
                .decode(&self.buffer[self.start..self.end], &mut data);
            self.start += step.consumed;
            if let Some(nonce) = step.mark {
                return Ok(nonce);
            }
            if to_server.write_all(&data[..step.produced]).await.is_err() {
                return self.seek_mark().await;
            }
        }
    }
}
