//! The tape: append-only, preallocated, memory-mapped segments. `docs/tape-format.md` is the specification.
//!
//! An append is a copy into mapped memory under one short lock. It needs no system call but one `fstat` for a client's
//! chunk, which notices that somebody removed the file. What was appended survives the death of this process at any moment.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, fdatasync, flock, fstat, fsync, openat, renameat, unlinkat,
};

use crate::durable::Durable;
use crate::recovery::{self, Recovery};
use crate::segment::{self, FrameHead, MAX_PAYLOAD, Segment, SessionId};

pub const KIND_SESSION_STARTED: u8 = 1;
pub const KIND_CLIENT: u8 = 2;
pub const KIND_SERVER: u8 = 3;
pub const KIND_ELIDED: u8 = 4;
pub const KIND_EVENT: u8 = 5;
pub const KIND_SESSION_ENDED: u8 = 6;
pub const KIND_RECORDER: u8 = 7;
pub const KIND_ROSTER: u8 = 8;

const RECORDER: SessionId = [0; 16];
const SPARE: &str = "next.tmp";
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// As many as fit in a roster's frame, and some to spare.
const MOST_SESSIONS: usize = 40_000;
const ENDED: u64 = u64::MAX;

pub struct Tape {
    directory: OwnedFd,
    path: PathBuf,
    segment_bytes: usize,
    instance: [u8; 16],
    writer: Mutex<Writer>,
    /// The next segment, made ahead of need. Whoever holds both locks took the writer's first.
    spare: Mutex<Option<Segment>>,
    /// With durability `disk`.
    pub durable: Option<Durable>,
    keeper: Mutex<Option<Sender<Chore>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<File>>,
}

struct Writer {
    current: Segment,
    /// Segments that were closed since the last sync (durability `disk`).
    unsynced: Vec<Arc<File>>,
    sessions: HashMap<SessionId, Arc<AtomicU64>>,
    recorder_sequence: Arc<AtomicU64>,
    last_time: i64,
    /// The current segment was not in its directory: the next append tries a new one.
    removed: bool,
    refused: Option<(Instant, String)>,
    closed: bool,
}

impl Writer {
    /// Notice that somebody removed the current segment, at each request: it is the price of the promise, some 0.2 µs.
    fn check_linked(&mut self) -> io::Result<()> {
        self.removed = fstat(&self.current.file)?.st_nlink == 0;
        if self.removed {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the tape's current segment was removed"));
        }
        Ok(())
    }
}

/// Work that no append should wait for.
enum Chore {
    PrepareSpare,
    /// This segment is closed; that one is current.
    Retire(Segment, Arc<File>),
}

/// One open session's place on the tape.
pub struct Session {
    pub tape: Arc<Tape>,
    id: SessionId,
    /// Its next sequence, changed under the tape's lock only.
    next: Arc<AtomicU64>,
}

impl Session {
    /// Append one frame; gives the position behind it.
    pub fn append(&self, kind: u8, payload: &[u8]) -> io::Result<u64> {
        self.tape.append(self.id, &self.next, kind, payload)
    }

    pub fn end(&self, payload: &[u8]) -> io::Result<()> {
        // Under one lock: nothing of the session may follow its end, and no roster list it afterwards.
        let mut writer = self.tape.writer();
        self.tape.append_locked(&mut writer, self.id, &self.next, KIND_SESSION_ENDED, payload)?;
        writer.sessions.remove(&self.id);
        self.next.store(ENDED, Ordering::Relaxed);
        Ok(())
    }
}

impl Tape {
    pub fn open(path: &Path, segment_bytes: usize, disk: bool) -> io::Result<(Arc<Self>, Option<Recovery>)> {
        std::fs::create_dir_all(path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let lock = take_lock(&directory)?;
        remove_if_there(&directory, SPARE)?;

        let recovery = recovery::recover(path)?;
        let mut instance = [0; 16];
        rustix::rand::getrandom(&mut instance, rustix::rand::GetRandomFlags::empty())?;

        let sessions: HashMap<_, _> = recovery
            .iter()
            .flat_map(|recovery| &recovery.open_sessions)
            .map(|(id, next)| (*id, Arc::new(AtomicU64::new(*next))))
            .collect();
        let mut current = Segment::create(&directory, SPARE, segment_bytes)?;
        let time = now(0);
        current.begin(recovery.as_ref().map_or(0, |recovery| recovery.segment) + 1, &instance, time);
        let recorder_sequence = Arc::default();
        append_roster(&mut current, &sessions, &recorder_sequence, time);
        name_segment(&directory, &current)?;
        fdatasync(&current.file)?;
        fsync(&directory)?;

        let writer = Writer {
            current,
            unsynced: Vec::new(),
            sessions,
            recorder_sequence,
            last_time: time,
            removed: false,
            refused: None,
            closed: false,
        };
        let (chores, inbox) = mpsc::channel();
        let tape = Arc::new(Tape {
            directory,
            path: path.to_owned(),
            segment_bytes,
            instance,
            writer: Mutex::new(writer),
            spare: Mutex::default(),
            durable: disk.then(Durable::default),
            keeper: Mutex::new(Some(chores)),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        let weak = Arc::downgrade(&tape);
        tape.spawn("tape-keeper", move || keep(&weak, &inbox))?;
        if disk {
            let syncing = tape.clone();
            tape.spawn("tape-sync", move || syncing.sync_on_demand())?;
        }
        tape.chore(Chore::PrepareSpare);
        Ok((tape, recovery.filter(Recovery::found_something)))
    }

    pub fn position(&self) -> u64 {
        self.writer().current.position()
    }

    pub fn record(&self, payload: &[u8]) -> io::Result<()> {
        let next = self.writer().recorder_sequence.clone();
        self.append(RECORDER, &next, KIND_RECORDER, payload).map(drop)
    }

    pub fn open_session(self: &Arc<Self>, id: SessionId, payload: &[u8]) -> io::Result<Session> {
        let next: Arc<AtomicU64> = Arc::default();
        let mut writer = self.writer();
        if writer.sessions.contains_key(&id) || id == RECORDER {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a session of this id is open"));
        }
        if writer.sessions.len() >= MOST_SESSIONS {
            return Err(io::Error::other(format!(
                "{MOST_SESSIONS} sessions are open, as many as a tape takes"
            )));
        }
        self.append_locked(&mut writer, id, &next, KIND_SESSION_STARTED, payload)?;
        writer.sessions.insert(id, next.clone());
        Ok(Session { tape: self.clone(), id, next })
    }

    /// End a session that the last writer left open.
    pub fn end_interrupted(self: &Arc<Self>, id: SessionId, payload: &[u8]) -> io::Result<()> {
        let next = self.writer().sessions.get(&id).cloned();
        let next = next.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such session is open"))?;
        Session { tape: self.clone(), id, next }.end(payload)
    }

    /// Sync everything, close the segment, release the threads. Later appends fail.
    pub fn close(&self) -> io::Result<()> {
        let current = {
            let mut writer = self.writer();
            if writer.closed {
                return Ok(());
            }
            writer.closed = true;
            writer.current.end();
            writer.current.file.clone()
        };
        self.keeper.lock().unwrap().take();
        if let Some(durable) = &self.durable {
            durable.stop();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.into_iter().for_each(|thread| drop(thread.join()));
        let trimmed = self.writer().current.trim();
        let synced = fdatasync(&current).map_err(io::Error::from);
        self.spare.lock().unwrap().take();
        let cleaned = remove_if_there(&self.directory, SPARE);
        self.lock.lock().unwrap().take();
        trimmed.and(synced).and(cleaned)
    }

    fn append(&self, session: SessionId, next: &AtomicU64, kind: u8, payload: &[u8]) -> io::Result<u64> {
        self.append_locked(&mut self.writer(), session, next, kind, payload)
    }

    fn append_locked(
        &self,
        writer: &mut Writer,
        session: SessionId,
        next: &AtomicU64,
        kind: u8,
        payload: &[u8],
    ) -> io::Result<u64> {
        if payload.len() > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame's payload is at most 1 MiB"));
        }
        let sequence = next.load(Ordering::Relaxed);
        if writer.closed || sequence == ENDED {
            return Err(io::Error::other("the tape, or this session on it, is closed"));
        }
        if writer.removed || !writer.current.fits(payload.len()) {
            self.roll(writer)?;
        }
        writer.last_time = now(writer.last_time);
        if matches!(kind, KIND_CLIENT | KIND_SESSION_STARTED) {
            writer.check_linked()?;
        }
        let head = FrameHead { session, sequence, time: writer.last_time, kind };
        writer.current.append(&head, payload);
        next.store(sequence + 1, Ordering::Relaxed);
        Ok(writer.current.position())
    }

    /// Go on in a new segment. Order matters: it is named before the old one is closed, so that a reader who finds no more in
    /// the old one can tell "not yet" from "go on there".
    fn roll(&self, writer: &mut Writer) -> io::Result<()> {
        if let Some((since, reason)) = &writer.refused
            && since.elapsed() < RETRY_AFTER
        {
            return Err(io::Error::other(reason.clone()));
        }
        // Held until the segment has its name: meanwhile the keeper must not make another under the spare's.
        let mut spare = self.spare.lock().unwrap();
        let next = spare.take().map_or_else(|| self.create_spare(), Ok).and_then(|mut next| {
            writer.last_time = now(writer.last_time);
            next.begin(writer.current.number + 1, &self.instance, writer.last_time);
            append_roster(&mut next, &writer.sessions, &writer.recorder_sequence, writer.last_time);
            name_segment(&self.directory, &next).map(|()| next)
        });
        match next {
            Ok(next) => {
                writer.refused = None;
                writer.removed = false;
                let mut old = std::mem::replace(&mut writer.current, next);
                old.end();
                if self.durable.is_some() {
                    writer.unsynced.push(old.file.clone());
                }
                self.chore(Chore::Retire(old, writer.current.file.clone()));
                self.chore(Chore::PrepareSpare);
                Ok(())
            }
            Err(error) => {
                let reason = format!("no new segment in {}: {error}", self.path.display());
                writer.refused = Some((Instant::now(), reason.clone()));
                Err(io::Error::new(error.kind(), reason))
            }
        }
    }

    fn create_spare(&self) -> io::Result<Segment> {
        remove_if_there(&self.directory, SPARE)?;
        Segment::create(&self.directory, SPARE, self.segment_bytes)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap()
    }

    fn chore(&self, chore: Chore) {
        if let Some(keeper) = &*self.keeper.lock().unwrap() {
            // The keeper is gone only when the tape is closing.
            let _ = keeper.send(chore);
        }
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
        self.threads.lock().unwrap().push(thread);
        Ok(())
    }

    fn sync_on_demand(&self) {
        let durable = self.durable.as_ref().expect("only started with durability disk");
        while durable.wait_for_demand() {
            let (files, position) = {
                let mut writer = self.writer();
                let mut files = std::mem::take(&mut writer.unsynced);
                files.push(writer.current.file.clone());
                (files, writer.current.position())
            };
            let synced =
                files.iter().try_for_each(fdatasync).and_then(|()| fsync(&self.directory)).map(|()| position);
            durable.publish(synced.map_err(io::Error::from));
        }
    }
}

/// The keeper's thread: prepares the next segment before it is needed, returns the room of closed ones.
fn keep(tape: &Weak<Tape>, inbox: &mpsc::Receiver<Chore>) {
    while let Ok(chore) = inbox.recv() {
        let Some(tape) = tape.upgrade() else { return };
        match chore {
            // A failure shows when the segment is needed: the append tries again and says why it cannot.
            Chore::PrepareSpare => {
                let mut spare = tape.spare.lock().unwrap();
                if spare.is_none() {
                    *spare = tape.create_spare().ok();
                }
            }
            // Failures only mean that the file stays longer than it need be, or that a power failure in this moment costs
            // the new segment's header, which recovery survives; durability `disk` syncs by itself.
            Chore::Retire(old, current) => {
                let _ = fdatasync(&current).and_then(|()| fsync(&tape.directory));
                let _ = old.trim();
            }
        }
    }
}

fn append_roster(
    segment: &mut Segment,
    sessions: &HashMap<SessionId, Arc<AtomicU64>>,
    recorder_sequence: &AtomicU64,
    time: i64,
) {
    let mut payload = Vec::with_capacity(sessions.len() * 24);
    for (id, next) in sessions {
        payload.extend_from_slice(id);
        payload.extend_from_slice(&next.load(Ordering::Relaxed).to_le_bytes());
    }
    let sequence = recorder_sequence.fetch_add(1, Ordering::Relaxed);
    segment.append(&FrameHead { session: RECORDER, sequence, time, kind: KIND_ROSTER }, &payload);
}

/// From here on a begun segment is part of the tape.
fn name_segment(directory: &OwnedFd, segment: &Segment) -> io::Result<()> {
    Ok(renameat(directory, SPARE, directory, segment::file_name(segment.number))?)
}

fn take_lock(directory: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = File::from(openat(directory, "lock", flags, Mode::RUSR | Mode::WUSR)?);
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process is recording to this tape; stop it or choose another state directory",
        )),
        Err(error) => Err(error.into()),
    }
}

fn remove_if_there(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Nanoseconds since the epoch, never before `last`.
fn now(last: i64) -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as i64).max(last)
}
