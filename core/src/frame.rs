//! Message boundaries of PostgreSQL's protocol, version 3: a type byte, a length that counts itself, a payload.
//!
//! A `Framer` follows one direction of one session and never holds a message: it is told what arrived and says which
//! parts of it belong to which message.

/// The longest message that either side may announce, as PostgreSQL's own limit (`MaxAllocSize`), in bytes.
pub const MAX_MESSAGE: u32 = 0x3fff_ffff;

/// Type byte and length field.
pub const HEADER: usize = 5;

#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    pub kind: u8,
    pub length: u32,
}

/// A part of one message inside the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The message's type byte.
    pub kind: u8,
    /// Where the part starts and ends in the bytes given.
    pub start: usize,
    pub end: usize,
    /// The whole message's length in bytes, type byte included, if this part is its beginning.
    pub begins: Option<u32>,
    /// This part is the message's end.
    pub ends: bool,
}

#[derive(Clone, Copy, Default)]
pub struct Framer {
    kind: u8,
    remaining: u32,
}

impl Framer {
    /// No message is under way.
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0
    }

    /// The next part at `from`, or None when what is left of `bytes` is not a whole header (or nothing).
    pub fn next(&mut self, bytes: &[u8], from: usize) -> Result<Option<Part>, Malformed> {
        let available = bytes.len() - from;
        let (take, begins) = if self.remaining > 0 {
            if available == 0 {
                return Ok(None);
            }
            (self.remaining.min(available as u32), None)
        } else {
            if available < HEADER {
                return Ok(None);
            }
            let header = &bytes[from..from + HEADER];
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            self.kind = header[0];
            if !(4..=MAX_MESSAGE).contains(&length) {
                return Err(Malformed { kind: self.kind, length });
            }
            self.remaining = length + 1;
            (self.remaining.min(available as u32), Some(length + 1))
        };
        self.remaining -= take;
        Ok(Some(Part {
            kind: self.kind,
            start: from,
            end: from + take as usize,
            begins,
            ends: self.remaining == 0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((payload.len() as u32 + 4).to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Feeds `bytes` cut at every `step`, carrying partial headers as the relay does; gives (kind, length) of each message.
    fn messages(bytes: &[u8], step: usize) -> Vec<(u8, u32)> {
        let (mut framer, mut found, mut carry) = (Framer::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            carry.extend_from_slice(piece);
            let mut from = 0;
            while let Some(part) = framer.next(&carry, from).unwrap() {
                if let Some(length) = part.begins {
                    found.push((part.kind, length));
                }
                from = part.end;
            }
            carry.drain(..from);
        }
        assert!(framer.at_boundary() && carry.is_empty());
        found
    }

    #[test]
    fn boundaries_do_not_depend_on_how_the_bytes_arrive() {
        let bytes = [message(b'Q', b"select 1\0"), message(b'S', b""), message(b'd', &[7; 300])].concat();
        for step in 1..=bytes.len() {
            assert_eq!(messages(&bytes, step), [(b'Q', 14), (b'S', 5), (b'd', 305)]);
        }
    }

    #[test]
    fn lengths_outside_the_protocol_are_malformed() {
        for length in [0u32, 3, MAX_MESSAGE + 1, u32::MAX] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert_eq!(Framer::default().next(&bytes, 0), Err(Malformed { kind: b'Q', length }));
        }
    }

    #[test]
    fn the_longest_message_is_followed_without_being_held() {
        let mut framer = Framer::default();
        let mut header = vec![b'd'];
        header.extend(MAX_MESSAGE.to_be_bytes());
        let part = framer.next(&header, 0).unwrap().unwrap();
        assert_eq!((part.begins, part.ends), (Some(MAX_MESSAGE + 1), false));
        let body = vec![0; 1 << 20];
        let mut left = MAX_MESSAGE as usize - 4;
        while left > 0 {
            let piece = &body[..left.min(body.len())];
            let part = framer.next(piece, 0).unwrap().unwrap();
            left -= part.end;
            assert_eq!(part.ends, left == 0);
        }
        assert!(framer.at_boundary());
    }
}
