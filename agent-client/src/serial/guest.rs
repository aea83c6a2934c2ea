//! The guest's side: one port, one session after another.

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

/// The sessions that the host begins on `port`, each a byte stream of its own.
///
/// A session ends when the next one begins, and not before: the stream does not show that a
/// host has disconnected. Reading then gives the end of the file, writing `BrokenPipe`. At most
/// one session is in progress.
///
/// Reading from `port` must be pending while no host is connected, as with [`super::Port`]. A read
/// of 0 bytes is the end of the port, and then of the returned stream. An error of the port is the
/// last item of the stream.
///
/// A task moves the bytes. It ends when the returned value is dropped.
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

/// The stream of sessions that [`sessions`] returns.
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
    /// Runs until the port fails. The end of the port is `UnexpectedEof`.
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

/// Encodes and sends what the server writes. When the server has closed its session, stays pending:
/// the mark of the next session arrives in the other direction.
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

/// The input of the port. `buffer[start..end]` was read and not yet decoded.
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

    /// Reads from the port if the buffer is used up.
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

    /// Passes decoded data to the server until the next mark. When the server has closed its
    /// session, discards the data.
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
