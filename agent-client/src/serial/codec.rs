//! Byte stuffing and session marks, without any input or output.

use memchr::{memchr, memchr2};

use super::{ESCAPE, MARK, NONCE_LEN, Nonce};

const FLIP: u8 = 0x20;

/// Appends `data` to `out`, stuffed: at most two bytes for each one.
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

/// What one call of [`Decoder::decode`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that need not be shown again.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
    /// A session mark was completed; what follows in the input belongs to the new session.
    pub mark: Option<Nonce>,
}

/// Takes an encoded stream apart, in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The last byte was [`ESCAPE`].
    escaped: bool,
    /// A mark has begun: this much of its nonce has arrived.
    mark: Option<(Nonce, usize)>,
}

impl Decoder {
    /// Decodes from `input` to `out`, until one of them ends or a mark is complete.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Decoded {
        let (mut consumed, mut produced) = (0, 0);
        while let Some(&byte) = input.get(consumed) {
            if byte == MARK {
                consumed += 1;
                self.escaped = false;
                self.mark = Some(([0; NONCE_LEN], 0));
            } else if let Some((nonce, filled)) = &mut self.mark {
                consumed += 1;
                if byte == ESCAPE && !self.escaped {
                    self.escaped = true;
                    continue;
                }
                nonce[*filled] = unescape(&mut self.escaped, byte);
                *filled += 1;
                if *filled == NONCE_LEN {
                    let mark = Some(*nonce);
                    self.mark = None;
                    return Decoded {
                        consumed,
                        produced,
                        mark,
                    };
                }
            } else if byte == ESCAPE && !self.escaped {
                consumed += 1;
                self.escaped = true;
            } else if produced == out.len() {
                break;
            } else if self.escaped {
                consumed += 1;
                out[produced] = unescape(&mut self.escaped, byte);
                produced += 1;
            } else {
                let room = input.len().min(consumed + out.len() - produced);
                let plain = &input[consumed..room];
                let plain = &plain[..memchr2(MARK, ESCAPE, plain).unwrap_or(plain.len())];
                out[produced..produced + plain.len()].copy_from_slice(plain);
                produced += plain.len();
                consumed += plain.len();
            }
        }
        Decoded {
            consumed,
            produced,
            mark: None,
        }
    }

    /// Throws data away until a mark is complete. Returns how much of `input` was used and the
    /// mark's nonce.
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
    fn the_wire_is_as_written_down() {
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
