//! Follows a tape from a position, while it is written and afterwards, from any process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::segment::{self, FRAME_HEADER, FrameHead, Look, SEGMENT_HEADER, SessionId};

const WINDOW: usize = 1 << 20;

pub struct Frame {
    pub head: FrameHead,
    pub position: u64,
    pub payload: Vec<u8>,
}

pub enum ReadError {
    Io(io::Error),
    Corrupt(String),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

pub struct Reader {
    directory: PathBuf,
    session: Option<SessionId>,
    number: u32,
    offset: usize,
    file: Option<File>,
    /// Bytes of the file from `window_at` on.
    window: Vec<u8>,
    window_at: usize,
}

impl Reader {
    pub fn new(directory: &Path, position: u64, session: Option<SessionId>) -> Self {
        Reader {
            directory: directory.to_owned(),
            session,
            number: (position >> 32) as u32,
            offset: ((position & 0xffff_ffff) as usize).max(SEGMENT_HEADER),
            file: None,
            window: Vec::new(),
            window_at: 0,
        }
    }

    pub fn position(&self) -> u64 {
        u64::from(self.number) << 32 | self.offset as u64
    }

    /// Up to `max_frames` frames or, once there is one, `max_bytes` of payload. None is the live end.
    pub fn read(&mut self, max_frames: usize, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while frames.len() < max_frames && bytes < max_bytes {
            match self.next() {
                Ok(Some(frame)) => {
                    bytes += frame.payload.len();
                    frames.push(frame);
                }
                // What came before a bad frame is handed out first; the next call meets the bad frame again.
                Err(_) if !frames.is_empty() => break,
                Ok(None) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(frames)
    }

    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let mut doubts = 0;
        loop {
            if !self.open()? {
                return Ok(None);
            }
            let at = self.offset - self.window_at;
            match segment::look(&self.window, at) {
                Look::Frame { head, payload, next } => {
                    let wanted = self.session.is_none_or(|session| session == head.session);
                    let frame =
                        wanted.then(|| Frame { head, position: self.position(), payload: payload.to_vec() });
                    self.offset = self.window_at + next;
                    if frame.is_some() {
                        return Ok(frame);
                    }
                }
                Look::End => self.go_on(),
                Look::Short(wanted) => {
                    if !self.refill(wanted)? {
                        if wanted > FRAME_HEADER {
                            return Err(self.corrupt("its frame is cut off"));
                        }
                        if !matches!(segment::look(&self.window, 0), Look::End) && !self.successor_exists() {
                            return Ok(None);
                        }
                        self.go_on();
                    }
                }
                Look::Blank => {
                    // In this order: once the successor has its name, nothing but the end mark is added here.
                    let successor = self.successor_exists();
                    self.refill(FRAME_HEADER)?;
                    if !matches!(segment::look(&self.window, self.offset - self.window_at), Look::Blank) {
                        continue;
                    }
                    if !successor {
                        return Ok(None);
                    }
                    if self.anything_behind()? {
                        return Err(self.corrupt("frames are missing here"));
                    }
                    self.go_on();
                }
                Look::Corrupt(reason) => {
                    // A frame being written while we copied it reads whole the next time.
                    doubts += 1;
                    if doubts > 3 {
                        return Err(self.corrupt(reason));
                    }
                    std::thread::sleep(Duration::from_millis(2));
                    self.refill(FRAME_HEADER)?;
                }
            }
        }
    }

    /// The current segment's file; false when there is none yet.
    fn open(&mut self) -> Result<bool, ReadError> {
        if self.file.is_some() {
            return Ok(true);
        }
        if self.number == 0 {
            let Some(first) = segment::numbers(&self.directory)?.first().copied() else { return Ok(false) };
            self.number = first;
        }
        let path = self.path(self.number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match segment::numbers(&self.directory)?
                    .into_iter()
                    .find(|number| *number > self.number)
                {
                    Some(_) => Err(ReadError::Corrupt(format!("segment {} is missing", self.number))),
                    None => Ok(false),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let mut header = [0; SEGMENT_HEADER];
        let read = file.read_at(&mut header, 0)?;
        segment::check_header(&header[..read], self.number)
            .map_err(|reason| ReadError::Corrupt(format!("{}: {reason}", path.display())))?;
        self.file = Some(file);
        self.window.clear();
        self.window_at = self.offset;
        Ok(true)
    }

    /// Read the window anew from the offset; false when the file has fewer than `wanted` bytes there.
    fn refill(&mut self, wanted: usize) -> io::Result<bool> {
        let file = self.file.as_ref().expect("open() came first");
        self.window.resize(WINDOW.max(wanted), 0);
        self.window_at = self.offset;
        let mut filled = 0;
        while filled < self.window.len() {
            match file.read_at(&mut self.window[filled..], (self.offset + filled) as u64)? {
                0 => break,
                n => filled += n,
            }
        }
        self.window.truncate(filled);
        Ok(filled >= wanted)
    }

    /// In a segment that has a successor: is what stands behind the last frame more than room that was never used?
    fn anything_behind(&mut self) -> io::Result<bool> {
        let (offset, mut found) = (self.offset, false);
        self.offset += 8; // where the end mark may just have been written
        while !found && self.refill(1)? {
            found = self.window.iter().any(|byte| *byte != 0);
            self.offset += self.window.len();
        }
        self.offset = offset;
        self.refill(FRAME_HEADER)?;
        Ok(found)
    }

    fn corrupt(&self, reason: &str) -> ReadError {
        ReadError::Corrupt(format!("segment {}, offset {}: {reason}", self.number, self.offset))
    }

    fn go_on(&mut self) {
        self.number += 1;
        self.offset = SEGMENT_HEADER;
        self.file = None;
    }

    fn successor_exists(&self) -> bool {
        self.path(self.number + 1).exists()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.directory.join(segment::file_name(number))
    }
}
