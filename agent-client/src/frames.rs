//! Checks the frames that arrive from a guest before ttrpc reads them.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MESSAGE_TYPE_RESPONSE, MessageHeader};

use crate::MAX_FRAME;

/// A connection that fails on an incoming frame which is not an answer or is too long.
///
/// The ttrpc client would put frames of other types into an unbounded queue, and would read a whole
/// frame that is too long, 4 GiB at most.
#[derive(Debug)]
pub struct Frames<S> {
    stream: S,
    header: [u8; MESSAGE_HEADER_LENGTH],
    /// How many bytes of the header have arrived.
    filled: usize,
    /// How many bytes of the frame's content have not arrived yet.
    content: usize,
    violation: Arc<OnceLock<String>>,
    /// Dropped with this value, when the connection ends; [`Fate`] sees that.
    _open: watch::Sender<()>,
}

/// What others can see of a connection: whether and why it has ended.
#[derive(Debug, Clone)]
pub struct Fate {
    violation: Arc<OnceLock<String>>,
    open: watch::Receiver<()>,
}

impl Fate {
    /// How the guest has violated the protocol, if it has.
    pub fn violation(&self) -> Option<&str> {
        self.violation.get().map(String::as_str)
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        let mut open = self.open.clone();
        while open.changed().await.is_ok() {}
    }
}

impl<S> Frames<S> {
    /// Checks the frames of `stream`.
    pub fn new(stream: S) -> (Self, Fate) {
        let violation = Arc::new(OnceLock::new());
        let (sender, open) = watch::channel(());
        let frames = Self {
            stream,
            header: [0; MESSAGE_HEADER_LENGTH],
            filled: 0,
            content: 0,
            violation: violation.clone(),
            _open: sender,
        };
        (frames, Fate { violation, open })
    }

    /// Checks the next piece of the stream.
    fn check(&mut self, mut data: &[u8]) -> Result<(), String> {
        while !data.is_empty() {
            if self.content > 0 {
                let passed = self.content.min(data.len());
                self.content -= passed;
                data = &data[passed..];
                continue;
            }
            let missing = data.len().min(MESSAGE_HEADER_LENGTH - self.filled);
            self.header[self.filled..self.filled + missing].copy_from_slice(&data[..missing]);
            self.filled += missing;
            data = &data[missing..];
            if self.filled == MESSAGE_HEADER_LENGTH {
                self.filled = 0;
                self.content = accept(MessageHeader::from(self.header))?;
            }
        }
        Ok(())
    }
}

/// Checks a header, and returns the length of the frame's content.
fn accept(header: MessageHeader) -> Result<usize, String> {
    if header.type_ != MESSAGE_TYPE_RESPONSE {
        return Err(format!("Frame of type {} is not an answer", header.type_));
    }
    match usize::try_from(header.length) {
        Ok(length) if length <= MAX_FRAME => Ok(length),
        _ => Err(format!(
            "Frame has {} bytes, more than the {MAX_FRAME} accepted",
            header.length
        )),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if let Err(violation) = this.check(&buf.filled()[before..]) {
            buf.set_filled(before);
            let error = io::Error::new(io::ErrorKind::InvalidData, violation.clone());
            let _first_one_stays = this.violation.set(violation);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(length: u32, type_: u8) -> Vec<u8> {
        let header = MessageHeader {
            length,
            stream_id: 1,
            type_,
            flags: 0,
        };
        header.into()
    }

    proptest! {
        #[test]
        fn answers_pass_unchanged_in_any_pieces(
            lengths in prop::collection::vec(0usize..300, 0..20), piece in 1usize..50,
        ) {
            let mut wire = Vec::new();
            for length in lengths {
                wire.extend(frame(length as u32, MESSAGE_TYPE_RESPONSE));
                wire.extend(vec![0xff; length]);
            }
            let (mut frames, _) = Frames::new(());
            for chunk in wire.chunks(piece) {
                prop_assert_eq!(frames.check(chunk), Ok(()));
            }
        }

        #[test]
        fn no_input_panics(wire: Vec<u8>, piece in 1usize..50) {
            let (mut frames, _) = Frames::new(());
            for chunk in wire.chunks(piece) {
                if frames.check(chunk).is_err() {
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_not_an_answer_ends_the_connection() {
        for (bad, words) in [
            (frame(1, 1), "type 1"),
            (frame(1, 3), "type 3"),
            (frame(u32::MAX, 2), "4294967295 bytes"),
            (frame(MAX_FRAME as u32 + 1, 2), "more than"),
        ] {
            let (mut guest, host) = tokio::io::duplex(100);
            let (mut frames, fate) = Frames::new(host);
            guest.write_all(&bad).await.unwrap();
            let error = frames.read(&mut [0; 100]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(fate.violation().unwrap().contains(words), "{fate:?}");
            drop(frames);
            fate.ended().await;
        }
        assert_eq!(
            accept(MessageHeader::from(&frame(MAX_FRAME as u32, 2)[..])),
            Ok(MAX_FRAME)
        );
    }
}
