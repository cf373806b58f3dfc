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

/// Read the last segment of a tape to its end, cut it there and close it. None where there is no tape yet.
pub fn recover(directory: &Path) -> io::Result<Option<Recovery>> {
    let mut numbers = segment::numbers(directory)?;
    let mut lost = 0;
    while let Some(number) = numbers.pop() {
        let path = directory.join(segment::file_name(number));
        let bytes = fs::read(&path)?;
        if bytes.iter().take(SEGMENT_HEADER).all(|byte| *byte == 0) {
            // A power failure took the header before it reached the disk: nothing behind it can be read as frames.
            lost += used(&bytes);
            fs::remove_file(&path)?;
            continue;
        }
        segment::check_header(&bytes, number).map_err(|reason| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()))
        })?;
        let mut recovery = read_to_end(&path, number, &bytes)?;
        recovery.discarded_bytes += lost;
        return Ok(Some(recovery));
    }
    Ok(None)
}

/// How many bytes there are up to the last that is not zero.
fn used(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn read_to_end(path: &Path, number: u32, bytes: &[u8]) -> io::Result<Recovery> {
    let mut open = BTreeMap::new();
    let mut at = SEGMENT_HEADER;
    let closed = loop {
        match segment::look(bytes, at) {
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
    let discarded_bytes = if closed { 0 } else { used(&bytes[at..]) };
    if !closed {
        if discarded_bytes > 0 {
            // Not readable as frames, but somebody may want to look at it.
            fs::write(path.with_extension("torn"), &bytes[at..at + discarded_bytes as usize])?;
        }
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(at as u64)?;
        file.write_all_at(&END, at as u64)?;
        file.sync_all()?;
    }
    Ok(Recovery {
        segment: number,
        offset: at as u64,
        discarded_bytes,
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
