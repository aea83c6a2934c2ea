//! The host's side: one session for each connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    BUFFER, Nonce,
    codec::{Decoder, encode, encode_mark},
};

/// Begins a session on a new connection to the port, and waits until the guest has answered.
///
/// There is no timeout here: the guest may still have to boot. `nonce` must be random.
///
/// # Errors
///
/// Those of the connection. `UnexpectedEof` when it ends before the guest has answered.
pub async fn open<S>(mut stream: S, nonce: &Nonce) -> io::Result<HostSession<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut mark = Vec::new();
    encode_mark(nonce, &mut mark);
    stream.write_all(&mark).await?;
    stream.flush().await?;

    let mut decoder = Decoder::default();
    let mut input = Input::new();
    loop {
        input.start = 0;
        input.end = stream.read(&mut input.buffer).await?;
        if input.end == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while input.start < input.end {
            let (used, found) = decoder.seek_mark(input.rest());
            input.start += used;
            if found.as_ref() == Some(nonce) {
                return Ok(HostSession {
                    stream,
                    decoder,
                    input,
                    output: Vec::with_capacity(2 * BUFFER),
                    written: 0,
                });
            }
        }
    }
}

/// The host's side of a session: a byte stream.
///
/// Written data may be buffered until a flush. Reading fails with `ConnectionReset` when the guest
/// begins another session by itself.
#[derive(Debug)]
pub struct HostSession<S> {
    stream: S,
    decoder: Decoder,
    input: Input,
    /// `output[written..]` is encoded and not yet written.
    output: Vec<u8>,
    written: usize,
}

/// `buffer[start..end]` was read and not yet decoded.
#[derive(Debug)]
struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HostSession<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let step = this
                .decoder
                .decode(this.input.rest(), buf.initialize_unfilled());
            this.input.start += step.consumed;
            buf.advance(step.produced);
            if step.produced > 0 && step.mark.is_none() {
                return Poll::Ready(Ok(()));
            }
            if step.mark.is_some() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the guest began another session",
                )));
            }
            let mut fresh = ReadBuf::new(&mut this.input.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut fresh))?;
            (this.input.start, this.input.end) = (0, fresh.filled().len());
            if this.input.end == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> HostSession<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HostSession<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let taken = &buf[..buf.len().min(BUFFER)];
        encode(taken, &mut this.output);
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_buffer_grows() {
        let nonce = [7; 16];
        let (host, guest) = tokio::io::duplex(1000);
        let (mut from_host, mut to_host) = tokio::io::split(guest);
        let mut mark = Vec::new();
        encode_mark(&nonce, &mut mark);
        to_host.write_all(&mark).await.unwrap();
        let mut session = open(host, &nonce).await.unwrap();
        let sizes = |s: &HostSession<_>| (s.output.capacity(), s.input.buffer.len());
        let before = sizes(&session);

        let drained =
            tokio::spawn(
                async move { tokio::io::copy(&mut from_host, &mut tokio::io::sink()).await },
            );
        let worst = vec![super::super::MARK; 1 << 20];
        for _ in 0..4 {
            session.write_all(&worst).await.unwrap();
        }
        session.flush().await.unwrap();
        assert_eq!(sizes(&session), before);
        assert_eq!(before, (2 * BUFFER, BUFFER));
        drop(session);
        assert_eq!(drained.await.unwrap().unwrap(), 17 + (8 << 20));
    }
}
