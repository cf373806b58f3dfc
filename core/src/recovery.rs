//! What the last writer of a tape left behind.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::segment::{self, END, FRAME_HEADER, Look, SEGMENT_HEADER, SessionId};
use crate::tape::{KIND_ROSTER, KIND_SESSION_ENDED, KIND_SESSION_STARTED};

/// The end of the last segment, how much behind it was not whole, and which sessions were open.
pub struct Recovery {
    pub segment: u32,
    pub offset: u64,
    pub discarded_bytes: u64,
    pub open_sessions: Vec<(SessionId, u64)>,
    closed: bool,
}

impl Recovery {
    pub fn found_something(&self) -> bool {
        !self.closed || self.discarded_bytes > 0 || !self.open_sessions.is_empty()
    }
}

/// Read the last segment to its end, cut it there and close it.
pub fn recover(directory: &Path, number: u32) -> io::Result<Recovery> {
    let path = directory.join(segment::file_name(number));
    let bytes = fs::read(&path)?;
    segment::check_header(&bytes, number).map_err(|reason| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()))
    })?;

    let mut open = BTreeMap::new();
    let mut at = SEGMENT_HEADER;
    let closed = loop {
        match segment::look(&bytes, at) {
            Look::Frame { head, payload, next } => {
                match head.kind {
                    KIND_ROSTER => open.extend(roster(payload)),
                    KIND_SESSION_ENDED => {
                        open.remove(&head.session);
                    }
                    kind if kind == KIND_SESSION_STARTED || open.contains_key(&head.session) => {
                        open.insert(head.session, head.sequence + 1);
                    }
                    _ => {}
                }
                at = next;
            }
            Look::End => break true,
            Look::Short(_) if bytes.len() - at.min(bytes.len()) < FRAME_HEADER => break true,
            _ => break false,
        }
    };
    let at = at.min(bytes.len());
    let discarded =
        if closed { 0 } else { bytes[at..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1) };
    if !closed {
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(at as u64)?;
        file.write_all_at(&END, at as u64)?;
        file.sync_all()?;
    }
    Ok(Recovery {
        segment: number,
        offset: at as u64,
        discarded_bytes: discarded as u64,
        open_sessions: open.into_iter().collect(),
        closed,
    })
}

fn roster(payload: &[u8]) -> impl Iterator<Item = (SessionId, u64)> {
    payload.chunks_exact(24).map(|entry| {
        let (id, next) = entry.split_at(16);
        (id.try_into().expect("16 bytes"), u64::from_le_bytes(next.try_into().expect("8 bytes")))
    })
}
