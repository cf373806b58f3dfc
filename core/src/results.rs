//! Which of the server's messages the record keeps: all but result data beyond its statement's cap.

use crate::frame::Framer;
use crate::pump::Broken;
use crate::tape::{KIND_ELIDED, KIND_SERVER, Session};

pub struct Results {
    cap: Option<u64>,
    left: u64,
    eliding: bool,
    messages: u64,
    bytes: u64,
}

impl Results {
    pub fn new(cap: Option<u64>) -> Self {
        Results { cap, left: cap.unwrap_or(0), eliding: false, messages: 0, bytes: 0 }
    }

    /// A message of the server begins: keep it? What a statement returns is kept from its first row on, without holes.
    fn keep(&mut self, kind: u8, length: u64) -> bool {
        let data = matches!(kind, b'D' | b'd');
        if let (true, Some(_)) = (data, self.cap) {
            if length <= self.left {
                self.left -= length;
            } else {
                self.left = 0;
                self.messages += 1;
                self.bytes += length;
                return false;
            }
        } else if let (b'C' | b'I' | b'E' | b'Z', Some(cap)) = (kind, self.cap) {
            self.left = cap;
        }
        true
    }

    /// The payload of an `elided` frame, if anything was elided since the last.
    pub fn take_elided(&mut self) -> Option<[u8; 16]> {
        if self.messages == 0 {
            return None;
        }
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&std::mem::take(&mut self.messages).to_le_bytes());
        payload[8..].copy_from_slice(&std::mem::take(&mut self.bytes).to_le_bytes());
        Some(payload)
    }
}

pub struct Answers {
    /// How many of the bytes end with a whole header.
    pub whole: usize,
    /// How many ReadyForQuery began among them.
    pub ready: i64,
    /// The last message to begin, if one did, was a ReadyForQuery.
    pub ends_ready: Option<bool>,
}

/// Record the server's messages, result data up to its cap.
pub fn record_answers(
    framer: &mut Framer,
    arrived: &[u8],
    results: &mut Results,
    tape: &Session,
) -> Result<Answers, Broken> {
    let (mut whole, mut kept_from, mut ready, mut ends_ready) = (0, 0, 0, None);
    loop {
        let part = match framer.next(arrived, whole) {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(malformed) => {
                // What stands before it came back from the server all the same.
                if !results.eliding {
                    append(tape, KIND_SERVER, &arrived[kept_from..whole])?;
                }
                return Err(Broken::Malformed(malformed));
            }
        };
        whole = part.end;
        if let Some(length) = part.begins {
            ready += i64::from(part.kind == b'Z');
            ends_ready = Some(part.kind == b'Z');
            let eliding = !results.keep(part.kind, u64::from(length));
            if eliding && !results.eliding {
                append(tape, KIND_SERVER, &arrived[kept_from..part.start])?;
            } else if !eliding && results.eliding {
                if let Some(elided) = results.take_elided() {
                    append(tape, KIND_ELIDED, &elided)?;
                }
                kept_from = part.start;
            }
            results.eliding = eliding;
        }
    }
    if !results.eliding {
        append(tape, KIND_SERVER, &arrived[kept_from..whole])?;
    }
    Ok(Answers { whole, ready, ends_ready })
}

fn append(tape: &Session, kind: u8, payload: &[u8]) -> Result<(), Broken> {
    if payload.is_empty() {
        return Ok(());
    }
    tape.append(kind, payload).map(drop).map_err(Broken::Tape)
}
