//! What the last writer of a tape left behind.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::segment::{self, END, FRAME_HEADER, FrameHead, Look, SEGMENT_HEADER, SessionId};
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
    let mut discarded_bytes = 0;
    let mut at = SEGMENT_HEADER;
    let closed = loop {
        match segment::look(bytes, at) {
            Look::Frame { head, payload, next } => {
                note(&mut open, &head, payload);
                at = next;
            }
            Look::End => break true,
            Look::Short(_) if bytes.len() - at.min(bytes.len()) < FRAME_HEADER => break true,
            // A hole in the middle is not the end: a power failure can take one page and leave the next.
            _ => match next_frame(bytes, at) {
                Some(next) => {
                    discarded_bytes += (next - at) as u64;
                    at = next;
                }
                None => break false,
            },
        }
    };
    let at = at.min(bytes.len());
    if !closed {
        let torn = used(&bytes[at..]);
        if torn > 0 {
            // Not readable as frames, but somebody may want to look at it.
            let kept = path.with_extension("torn");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(kept)?;
            file.write_all(&bytes[at..at + torn as usize])?;
            file.sync_all()?;
            discarded_bytes += torn;
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

/// Where the next whole frame stands behind what is none.
fn next_frame(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + used(&bytes[at..]) as usize;
    (at + 8..end).step_by(8).find(|at| matches!(segment::look(bytes, *at), Look::Frame { .. }))
}

/// Keep count of the open sessions and the sequences that they have reached.
fn note(open: &mut BTreeMap<SessionId, u64>, head: &FrameHead, payload: &[u8]) {
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
}
