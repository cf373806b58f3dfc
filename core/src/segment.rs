//! Segments and frames as bytes: what `docs/tape-format.md` says, in one place for writer, recovery and reader.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, fallocate, openat, unlinkat};

pub type SessionId = [u8; 16];

pub const SEGMENT_HEADER: usize = 64;
pub const FRAME_HEADER: usize = 48;
pub const MAX_PAYLOAD: usize = 1 << 20;
const MAGIC: &[u8; 8] = b"PGWTAPE1";
const VERSION: u32 = 1;
const END_MARK: u32 = u32::MAX;
/// The end mark as it stands in a file.
pub const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// A frame's length on the tape, padding included.
pub fn padded(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(8)
}

pub fn file_name(number: u32) -> String {
    format!("{number:010}.tape")
}

/// The numbers of the segments in a directory, in order.
pub fn numbers(directory: &std::path::Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".tape"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub session: SessionId,
    pub sequence: u64,
    pub time: i64,
    pub kind: u8,
}

impl FrameHead {
    /// The 40 bytes that the checksum covers.
    fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.session);
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.time.to_le_bytes());
        bytes[32] = self.kind;
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        FrameHead {
            session: array(bytes, 0),
            sequence: u64::from_le_bytes(array(bytes, 16)),
            time: i64::from_le_bytes(array(bytes, 24)),
            kind: bytes[32],
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<'a> {
    Frame {
        head: FrameHead,
        payload: &'a [u8],
        next: usize,
    },
    /// Writing stopped here, for now or for ever.
    Blank,
    /// The segment is closed here.
    End,
    /// The frame goes on behind the bytes at hand: it needs this many from its beginning.
    Short(usize),
    /// Not a frame: a wrong length or checksum.
    Corrupt(&'static str),
}

/// Look at `bytes[at..]`, where `at` is a multiple of 8 in the segment.
pub fn look(bytes: &[u8], at: usize) -> Look<'_> {
    let rest = &bytes[at.min(bytes.len())..];
    if rest.len() < 8 {
        return Look::Short(FRAME_HEADER);
    }
    let (length, checksum) = (u32::from_le_bytes(array(rest, 0)), u32::from_le_bytes(array(rest, 4)));
    if length == END_MARK {
        return Look::End;
    }
    if length == 0 && checksum == 0 {
        return Look::Blank;
    }
    let length = length as usize;
    if length > MAX_PAYLOAD {
        return Look::Corrupt("its length is above the limit");
    }
    if rest.len() < FRAME_HEADER + length {
        return Look::Short(padded(length));
    }
    let payload = &rest[FRAME_HEADER..FRAME_HEADER + length];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&rest[8..FRAME_HEADER]);
    hasher.update(payload);
    if hasher.finalize() != checksum {
        return Look::Corrupt("its checksum does not match");
    }
    Look::Frame { head: FrameHead::decode(&rest[8..FRAME_HEADER]), payload, next: at + padded(length) }
}

/// Check a segment's header; says what is wrong with it.
pub fn check_header(bytes: &[u8], number: u32) -> Result<(), &'static str> {
    if bytes.len() < SEGMENT_HEADER || &bytes[..8] != MAGIC {
        return Err("it is not a segment of a tape");
    }
    if crc32fast::hash(&bytes[..60]) != u32::from_le_bytes(array(bytes, 60)) {
        return Err("its header's checksum does not match");
    }
    if u32::from_le_bytes(array(bytes, 8)) != VERSION {
        return Err("its format version is unknown: it was written by a newer pgwitness");
    }
    if u32::from_le_bytes(array(bytes, 12)) != number {
        return Err("its number is not that of its file name");
    }
    Ok(())
}

/// A segment being written.
pub struct Segment {
    pub number: u32,
    pub file: Arc<File>,
    map: MmapMut,
    offset: usize,
}

impl Segment {
    /// Make and map the file `name`, with all its blocks reserved. Leaves nothing behind when it fails.
    pub fn create(directory: &OwnedFd, name: &str, bytes: usize) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
        let map = fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)
            .map_err(io::Error::from)
            // SAFETY: the file is ours alone: its directory is locked, and only this process writes segments.
            .and_then(|()| unsafe { MmapOptions::new().len(bytes).map_mut(&file) });
        match map {
            Ok(map) => Ok(Segment { number: 0, file: Arc::new(file), map, offset: SEGMENT_HEADER }),
            Err(error) => {
                unlinkat(directory, name, AtFlags::empty())?;
                Err(error)
            }
        }
    }

    /// Write the header: from here on it is segment `number`.
    pub fn begin(&mut self, number: u32, instance: &[u8; 16], time: i64) {
        self.number = number;
        let header = &mut self.map[..SEGMENT_HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&number.to_le_bytes());
        header[16..24].copy_from_slice(&time.to_le_bytes());
        header[24..40].copy_from_slice(instance);
        let checksum = crc32fast::hash(&header[..60]);
        header[60..64].copy_from_slice(&checksum.to_le_bytes());
    }

    pub fn position(&self) -> u64 {
        u64::from(self.number) << 32 | self.offset as u64
    }

    pub fn fits(&self, payload: usize) -> bool {
        self.offset + padded(payload) <= self.map.len()
    }

    /// Append a frame that fits.
    pub fn append(&mut self, head: &FrameHead, payload: &[u8]) {
        let covered = head.encode();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&covered);
        hasher.update(payload);
        let word = u64::from(hasher.finalize()) << 32 | payload.len() as u64;

        let body = self.offset + FRAME_HEADER;
        self.map[self.offset + 8..body].copy_from_slice(&covered);
        self.map[body..body + payload.len()].copy_from_slice(payload);
        // The line that must stay last: a reader sees the length, and so the frame, only when all of it is there.
        let first: *mut u64 = self.map[self.offset..self.offset + 8].as_mut_ptr().cast();
        // SAFETY: in bounds by the slice above, aligned because frames start at multiples of 8 of a page-aligned map.
        unsafe { AtomicU64::from_ptr(first) }.store(word.to_le(), Ordering::Release);
        self.offset += padded(payload.len());
    }

    /// Close the segment: its successor has begun.
    pub fn end(&mut self) {
        if self.offset + 4 <= self.map.len() {
            let mark: *mut u32 = self.map[self.offset..self.offset + 4].as_mut_ptr().cast();
            // SAFETY: as in `append`.
            unsafe { AtomicU32::from_ptr(mark) }.store(END_MARK, Ordering::Release);
        }
    }

    /// Give back the room behind the end mark. Nothing may be appended afterwards.
    pub fn trim(&self) -> io::Result<()> {
        self.file.set_len((self.offset + 8).min(self.map.len()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> (Vec<u8>, FrameHead) {
        let head = FrameHead { session: [9; 16], sequence: 3, time: 1_700_000_000_000_000_000, kind: 2 };
        let covered = head.encode();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&covered);
        hasher.update(payload);
        let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
        bytes.extend(hasher.finalize().to_le_bytes());
        bytes.extend(covered);
        bytes.extend(payload);
        bytes.resize(padded(payload.len()), 0);
        (bytes, head)
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        for payload in [&b""[..], b"x", b"12345678", &[0; 1000]] {
            let (bytes, head) = frame(payload);
            assert_eq!(look(&bytes, 0), Look::Frame { head, payload, next: bytes.len() });
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_shows() {
        let (bytes, head) = frame(b"UPDATE orders SET status = 'void'");
        let end = FRAME_HEADER + 33; // padding carries nothing
        for bit in 0..end * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(look(&flipped, 0), Look::Frame { head: found, .. } if found == head));
        }
    }

    #[test]
    fn every_cut_of_a_frame_shows() {
        let (bytes, _) = frame(b"COMMIT");
        for cut in 0..FRAME_HEADER + 6 {
            assert!(matches!(look(&bytes[..cut], 0), Look::Short(_)), "cut at {cut}");
        }
    }
}
