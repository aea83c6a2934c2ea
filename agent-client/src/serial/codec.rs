//! Byte stuffing and session marks, without input and output.

use memchr::{memchr, memchr2};

use super::{ESCAPE, MARK, NONCE_LEN, Nonce};

/// The bit that is flipped in an escaped byte.
const FLIP: u8 = 0x20;

/// Appends the encoded `data` to `out`: at most two bytes for each one.
pub fn encode(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    while let Some(at) = memchr2(MARK, ESCAPE, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[ESCAPE, rest[at] ^ FLIP]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a session mark to `out`.
pub fn encode_mark(nonce: &Nonce, out: &mut Vec<u8>) {
    out.push(MARK);
    encode(nonce, out);
}

/// The result of one call of [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input were used. The next call must start behind them.
    pub consumed: usize,
    /// How many bytes were written to the output.
    pub produced: usize,
    /// The nonce of a session mark that is now complete. The rest of the input belongs to
    /// that session.
    pub mark: Option<Nonce>,
}

/// Decodes a stream that arrives in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The last byte was [`ESCAPE`].
    escaped: bool,
    /// The nonce of a mark that has begun, and how many of its bytes have arrived.
    mark: Option<(Nonce, usize)>,
}

impl Decoder {
    /// Decodes from `input` to `out`, until one of them ends or a mark is complete.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Decoded {
        let (mut consumed, mut produced) = (0, 0);
        let mut mark = None;
        while let Some(&byte) = input.get(consumed)
            && mark.is_none()
        {
            if byte == MARK {
                consumed += 1;
                self.escaped = false;
                self.mark = Some(([0; NONCE_LEN], 0));
            } else if byte == ESCAPE && !self.escaped {
                consumed += 1;
                self.escaped = true;
            } else if self.mark.is_some() {
                consumed += 1;
                mark = self.add_to_mark(byte);
            } else if produced == out.len() {
                break;
            } else if self.escaped {
                consumed += 1;
                out[produced] = unescape(&mut self.escaped, byte);
                produced += 1;
            } else {
                let copied = copy_plain(&input[consumed..], &mut out[produced..]);
                produced += copied;
                consumed += copied;
            }
        }
        Decoded {
            consumed,
            produced,
            mark,
        }
    }

    /// Adds a byte to the nonce of the mark that has begun; returns the nonce when it is complete.
    fn add_to_mark(&mut self, byte: u8) -> Option<Nonce> {
        let (nonce, filled) = self.mark.as_mut()?;
        nonce[*filled] = unescape(&mut self.escaped, byte);
        *filled += 1;
        let complete = *filled == NONCE_LEN;
        if complete {
            self.mark.take().map(|(nonce, _)| nonce)
        } else {
            None
        }
    }

    /// Discards data until a mark is complete. Returns how many bytes of `input` were used, and the
    /// nonce of the mark.
    pub fn seek_mark(&mut self, input: &[u8]) -> (usize, Option<Nonce>) {
        let mut consumed = 0;
        while consumed < input.len() {
            if self.mark.is_none() {
                match memchr(MARK, &input[consumed..]) {
                    Some(at) => consumed += at,
                    None => return (input.len(), None),
                }
            }
            let step = self.decode(&input[consumed..], &mut []);
            consumed += step.consumed;
            if step.mark.is_some() {
                return (consumed, step.mark);
            }
        }
        (consumed, None)
    }
}

/// Copies bytes until one of the slices ends or a byte needs decoding; returns how many.
fn copy_plain(input: &[u8], out: &mut [u8]) -> usize {
    let plain = &input[..input.len().min(out.len())];
    let length = memchr2(MARK, ESCAPE, plain).unwrap_or(plain.len());
    out[..length].copy_from_slice(&plain[..length]);
    length
}

fn unescape(escaped: &mut bool, byte: u8) -> u8 {
    if std::mem::take(escaped) {
        byte ^ FLIP
    } else {
        byte
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire` in pieces; returns the data before, between and after the marks.
    fn decode_all(wire: &[u8], piece: usize, out_len: usize) -> (Vec<Vec<u8>>, Vec<Nonce>) {
        let mut decoder = Decoder::default();
        let (mut data, mut marks) = (vec![Vec::new()], Vec::new());
        let mut out = vec![0; out_len];
        for chunk in wire.chunks(piece) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let step = decoder.decode(rest, &mut out);
                assert!(step.consumed > 0, "no progress");
                rest = &rest[step.consumed..];
                data.last_mut()
                    .unwrap()
                    .extend_from_slice(&out[..step.produced]);
                if let Some(nonce) = step.mark {
                    marks.push(nonce);
                    data.push(Vec::new());
                }
            }
        }
        (data, marks)
    }

    /// Bytes of which many need stuffing.
    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), Just(MARK), Just(ESCAPE), Just(MARK ^ FLIP)];
        prop::collection::vec(byte, 0..max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn any_data_in_any_pieces_comes_back(
            data in bytes(2000), more in bytes(2000), nonce: Nonce,
            piece in 1usize..70, out in 1usize..70,
        ) {
            let mut wire = Vec::new();
            encode(&data, &mut wire);
            prop_assert!(wire.len() <= 2 * data.len());
            prop_assert!(!wire.contains(&MARK));
            encode_mark(&nonce, &mut wire);
            encode(&more, &mut wire);
            prop_assert_eq!(decode_all(&wire, piece, out), (vec![data, more], vec![nonce]));
        }

        #[test]
        fn a_mark_is_found_after_anything(
            garbage in bytes(500), nonce: Nonce, data in bytes(100), piece in 1usize..70,
        ) {
            let mut wire = garbage;
            encode_mark(&nonce, &mut wire);
            encode(&data, &mut wire);
            let (parts, marks) = decode_all(&wire, piece, 16);
            prop_assert_eq!(parts.last(), Some(&data));
            prop_assert_eq!(marks.last(), Some(&nonce));
        }

        #[test]
        fn seeking_finds_the_same_marks(wire in bytes(3000), piece in 1usize..70) {
            let mut decoder = Decoder::default();
            let mut marks = Vec::new();
            for chunk in wire.chunks(piece) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let (used, mark) = decoder.seek_mark(rest);
                    prop_assert!(used > 0, "no progress");
                    rest = &rest[used..];
                    marks.extend(mark);
                }
            }
            prop_assert_eq!(marks, decode_all(&wire, piece, 16).1);
        }
    }

    #[test]
    fn a_full_output_keeps_the_byte() {
        let mut decoder = Decoder::default();
        let step = decoder.decode(b"ab", &mut []);
        assert_eq!(
            step,
            Decoded {
                consumed: 0,
                produced: 0,
                mark: None
            }
        );
        let mut one = [0];
        let step = decoder.decode(b"ab", &mut one);
        assert_eq!((step.consumed, &one), (1, b"a"));
    }

    #[test]
    fn the_encoding_is_as_documented() {
        let mut wire = Vec::new();
        encode(&[0x00, 0x7d, 0x7e, 0xff], &mut wire);
        assert_eq!(wire, [0x00, 0x7d, 0x5d, 0x7d, 0x5e, 0xff]);
        wire.clear();
        let nonce: Nonce = [1, 2, 3, 4, 5, 6, 7, 0x7e, 9, 10, 11, 12, 13, 14, 15, 16];
        encode_mark(&nonce, &mut wire);
        assert_eq!(
            wire,
            b"\x7e\x01\x02\x03\x04\x05\x06\x07\x7d\x5e\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
        );
    }
}
