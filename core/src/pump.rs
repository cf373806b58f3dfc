//! One direction of a session: read, record, forward, keep what the other side would not take yet. A byte copy (`copy.rs`) is the
//! same without a tape.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame::{Framer, HEADER, Malformed};
use crate::stream::Io;
use crate::tape::Session;

const SCRATCH: usize = 128 * 1024;
/// What one direction may pass on before the other sessions of its relay thread have their turn: with both ends always ready, a
/// bulk transfer would otherwise hold them up for tens of milliseconds.
const TURN: usize = 2 * SCRATCH;

thread_local! {
    /// All sessions of a relay thread read into this buffer, one after the other.
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// How one direction stopped short.
pub enum Broken {
    Read(io::Error),
    Write(io::Error),
    Malformed(Malformed),
    Tape(io::Error),
    /// The server has said more to a client that is gone than is worth recording.
    Unread,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Read(error) | Broken::Write(error) | Broken::Tape(error) => error.fmt(f),
            Broken::Malformed(Malformed { length, .. }) => write!(f, "a message announces {length} bytes"),
            Broken::Unread => f.write_str("nobody reads any more"),
        }
    }
}

/// One direction.
#[derive(Default)]
pub struct Pump {
    pub framer: Framer,
    /// The beginning of a message header whose rest has not arrived: neither recorded nor forwarded.
    carry: [u8; HEADER],
    carried: usize,
    /// Recorded, and not yet taken by the other side.
    pub rest: Vec<u8>,
    pub written: usize,
    /// With durability `disk`: the rest may be written once the tape is on stable storage up to here.
    durable_at: Option<u64>,
    unflushed: bool,
    /// A sender under TLS that leaves without close_notify was cut off, and has not ended its stream.
    pub strict: bool,
    /// The sender ended its stream.
    pub ended: bool,
    /// That end was passed on, or there is nobody to pass it on to.
    pub closed: bool,
}

impl Pump {
    /// Relay until something must be waited for. Ready when the sender's end was passed on.
    ///
    /// `record` is given what arrived and puts it on the tape; it says how much of it is whole enough to forward, and the tape
    /// position to wait for. `tape` is None where nothing is recorded, `to` when nobody reads any more.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        mut to: Option<&mut Io>,
        tape: Option<&Session>,
        mut record: impl FnMut(&mut Framer, &[u8]) -> Result<Recorded, Broken>,
    ) -> Poll<Result<(), Broken>> {
        let mut passed = 0;
        loop {
            if passed >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_forward(cx, to.as_deref_mut(), tape))?;
            if self.ended {
                if let Some(to) = to {
                    ready!(Pin::new(to).poll_shutdown(cx)).map_err(Broken::Write)?;
                }
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            ready!(SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                scratch[..self.carried].copy_from_slice(&self.carry[..self.carried]);
                let n = ready!(self.poll_read(from, cx, scratch)).map_err(Broken::Read)?;
                if n == 0 {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                passed += n;
                let arrived = &scratch[..self.carried + n];
                // The promise: recorded here, forwarded below. The two must not change places.
                let before = self.framer;
                let recorded = record(&mut self.framer, arrived).inspect_err(|_| {
                    // Nothing of this chunk is forwarded: both sides stand where they stood before it.
                    self.framer = before;
                })?;
                let (whole, partial) = arrived.split_at(recorded.whole);
                self.carry[..partial.len()].copy_from_slice(partial);
                self.carried = partial.len();
                self.durable_at = recorded.durable_at;
                Poll::Ready(self.forward(cx, to.as_deref_mut(), whole))
            }))?;
        }
    }

    /// Bytes read behind what is carried; 0 at the end of the stream, also when a TLS peer left without close_notify, unless
    /// that counts.
    fn poll_read(&self, from: &mut Io, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(&mut scratch[self.carried..]);
        match ready!(Pin::new(from).poll_read(cx, &mut buffer)) {
            Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !self.strict => Poll::Ready(Ok(0)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Write `whole` as far as the other side takes it, and keep the rest.
    fn forward(&mut self, cx: &mut Context<'_>, to: Option<&mut Io>, whole: &[u8]) -> Result<(), Broken> {
        let Some(to) = to else { return Ok(()) };
        let mut written = 0;
        while written < whole.len() && self.durable_at.is_none() {
            match Pin::new(&mut *to).poll_write(cx, &whole[written..]) {
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(error)) => return Err(Broken::Write(error)),
                Poll::Pending => break,
            }
        }
        self.rest = whole[written..].to_vec();
        self.written = 0;
        self.unflushed = true;
        Ok(())
    }

    /// Write what is left over from before.
    fn poll_forward(
        &mut self,
        cx: &mut Context<'_>,
        to: Option<&mut Io>,
        tape: Option<&Session>,
    ) -> Poll<Result<(), Broken>> {
        let Some(to) = to else {
            self.rest = Vec::new();
            return Poll::Ready(Ok(()));
        };
        if let (Some(position), Some(durable)) =
            (self.durable_at, tape.and_then(|tape| tape.tape.durable.as_ref()))
        {
            ready!(durable.poll(cx, position)).map_err(Broken::Tape)?;
            self.durable_at = None;
        }
        while self.written < self.rest.len() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.written..]))
                .map_err(Broken::Write)?;
            if n == 0 {
                return Poll::Ready(Err(Broken::Write(io::ErrorKind::WriteZero.into())));
            }
            self.written += n;
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(Broken::Write)?;
            self.unflushed = false;
            self.rest = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }
}

/// What became of the bytes that arrived.
pub struct Recorded {
    /// How many of them end with a whole header; the others wait for the rest of theirs.
    pub whole: usize,
    pub durable_at: Option<u64>,
}
