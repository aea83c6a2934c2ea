//! Lines of bounded length from a stream.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Reads one line without its end. `None` is the end of the stream; a last line that was cut off
/// there is dropped.
///
/// # Errors
/// `InvalidData` for a line of more than `limit` bytes; the stream is unusable afterwards.
pub async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return Ok(None);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        if line.len() + part.len() > limit {
            let message = format!("a line of more than {limit} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        line.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(input: &[u8], capacity: usize) -> Vec<Vec<u8>> {
        let mut reader = BufReader::with_capacity(capacity, input);
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut reader, 10).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_the_same_however_they_arrive() {
        for capacity in [1, 2, 3, 100] {
            let got = lines(b"one\r\n\ntwo\nhalf", capacity).await;
            assert_eq!(
                got,
                [b"one".to_vec(), b"".to_vec(), b"two".to_vec()],
                "{capacity}"
            );
        }
    }

    #[tokio::test]
    async fn a_giant_line_is_refused_before_it_is_held() {
        let mut reader = BufReader::with_capacity(4, &[b'x'; 1000][..]);
        let error = read_line(&mut reader, 10).await.unwrap_err();
        assert_eq!(error.to_string(), "a line of more than 10 bytes");
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_is_read() {
        assert_eq!(lines(b"0123456789\n", 4).await, [b"0123456789".to_vec()]);
    }
}
