//! One session's bytes, both ways: recorded first, then forwarded.
//!
//! A session is one task on its relay thread. It reads into a scratch buffer that all sessions of the thread share, records what it
//! read, writes it to the other side, and keeps only what the other side would not take yet; while there is such a rest it
//! does not read. An idle session therefore holds no buffer, and a slow reader slows its own session only.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::frame::{Framer, HEADER, Malformed};
use crate::mailbox::{Outcome, Ticket};
use crate::stream::Io;
use crate::tape::{KIND_CLIENT, KIND_ELIDED, KIND_SERVER, Session};

const SCRATCH: usize = 128 * 1024;
/// How long a client may take to accept its farewell.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// What the server may still answer to a client that is gone, so that the outcome of its last statements is on record.
const UNREAD_ANSWERS: u64 = 1 << 20;
const TERMINATE: &[u8] = b"X\0\0\0\x04";

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What Python and the session's task share.
#[derive(Default)]
pub struct Control {
    order: Mutex<Option<Order>>,
    waker: Mutex<Option<Waker>>,
    ended: Mutex<Option<RelayEnd>>,
    waiting: Mutex<Option<Ticket>>,
    /// Requests (Query, FunctionCall, Sync) whose ReadyForQuery has not come.
    outstanding: AtomicI64,
    last_activity: AtomicI64,
    client_bytes: AtomicU64,
    server_bytes: AtomicU64,
}

#[derive(Clone)]
struct Order {
    reason: String,
    farewell: Vec<u8>,
    /// Wait until no request is outstanding.
    gently: bool,
}

/// How a session ended.
#[pyclass(frozen, module = "pgwitness._core", get_all)]
#[derive(Clone)]
pub struct RelayEnd {
    reason: String,
    detail: Option<String>,
    client_bytes: u64,
    server_bytes: u64,
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Relay {
    pub control: Arc<Control>,
    pub mailbox: Arc<crate::mailbox::Mailbox>,
}

#[pymethods]
impl Relay {
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (ticket, future) = self.mailbox.ticket(py)?;
        let ended = self.control.ended.lock().unwrap();
        match &*ended {
            Some(end) => ticket.answer(Ok(Outcome::End(end.clone()))),
            None => *self.control.waiting.lock().unwrap() = Some(ticket),
        }
        Ok(future)
    }

    #[pyo3(signature = (reason, farewell=Vec::new()))]
    fn end(&self, reason: String, farewell: Vec<u8>) {
        self.control.order(Order { reason, farewell, gently: false });
    }

    #[pyo3(signature = (reason, farewell=Vec::new()))]
    fn drain(&self, reason: String, farewell: Vec<u8>) {
        self.control.order(Order { reason, farewell, gently: true });
    }

    #[getter]
    fn idle(&self) -> bool {
        self.control.outstanding.load(Ordering::Relaxed) <= 0
    }

    #[getter]
    fn quiet_seconds(&self) -> f64 {
        (now() - self.control.last_activity.load(Ordering::Relaxed)).max(0) as f64 / 1e9
    }

    #[getter]
    fn client_bytes(&self) -> u64 {
        self.control.client_bytes.load(Ordering::Relaxed)
    }

    #[getter]
    fn server_bytes(&self) -> u64 {
        self.control.server_bytes.load(Ordering::Relaxed)
    }
}

impl Control {
    /// The first order counts, but a drain can be made an end.
    fn order(&self, order: Order) {
        let mut held = self.order.lock().unwrap();
        if held.as_ref().is_none_or(|held| held.gently && !order.gently) {
            *held = Some(order);
        }
        drop(held);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// The order to carry out now, if there is one. Registers the task to be woken by the next.
    fn due(&self, cx: &Context<'_>) -> Option<Order> {
        let mut waker = self.waker.lock().unwrap();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let order = self.order.lock().unwrap();
        order.clone().filter(|order| !order.gently || self.outstanding.load(Ordering::Relaxed) <= 0)
    }

    fn finish(&self, end: RelayEnd) {
        let mut ended = self.ended.lock().unwrap();
        *ended = Some(end.clone());
        if let Some(ticket) = self.waiting.lock().unwrap().take() {
            ticket.answer(Ok(Outcome::End(end)));
        }
    }
}

/// Why the relaying stopped.
enum Stop {
    Done(&'static str),
    Lost(&'static str, String),
    Malformed(&'static str, Malformed),
    Tape(io::Error),
    Ordered(Order),
    Panic,
}

/// How one direction stopped short.
enum Broken {
    Read(io::Error),
    Write(io::Error),
    Malformed(Malformed),
    Tape(io::Error),
    /// The server has said more to a client that is gone than is worth recording.
    Unread,
}

/// One direction.
#[derive(Default)]
struct Pump {
    framer: Framer,
    /// The beginning of a message header whose rest has not arrived: neither recorded nor forwarded.
    carry: [u8; HEADER],
    carried: usize,
    /// Recorded, and not yet taken by the other side.
    rest: Vec<u8>,
    written: usize,
    /// With durability `disk`: the rest may be written once the tape is on stable storage up to here.
    durable_at: Option<u64>,
    unflushed: bool,
    /// The sender ended its stream.
    ended: bool,
    /// That end was passed on, or there is nobody to pass it on to.
    closed: bool,
}

impl Pump {
    /// Relay until something must be waited for. Ready when the sender's end was passed on.
    ///
    /// `record` is given what arrived and puts it on the tape; it says how much of it is whole enough to forward, and the tape
    /// position to wait for. `to` is None when nobody reads any more.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        mut to: Option<&mut Io>,
        tape: &Session,
        mut record: impl FnMut(&mut Framer, &[u8]) -> Result<Recorded, Broken>,
    ) -> Poll<Result<(), Broken>> {
        loop {
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
                let n = ready!(poll_read(from, cx, &mut scratch[self.carried..])).map_err(Broken::Read)?;
                if n == 0 {
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                let arrived = &scratch[..self.carried + n];
                // The promise: recorded here, forwarded below. The two must not change places.
                let recorded = record(&mut self.framer, arrived)?;
                let (whole, partial) = arrived.split_at(recorded.whole);
                self.carry[..partial.len()].copy_from_slice(partial);
                self.carried = partial.len();
                self.durable_at = recorded.durable_at;
                Poll::Ready(self.forward(cx, to.as_deref_mut(), whole))
            }))?;
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
        tape: &Session,
    ) -> Poll<Result<(), Broken>> {
        let Some(to) = to else {
            self.rest = Vec::new();
            return Poll::Ready(Ok(()));
        };
        if let (Some(position), Some(durable)) = (self.durable_at, &tape.tape.durable) {
            ready!(durable.poll(cx, position)).map_err(Broken::Tape)?;
            self.durable_at = None;
        }
        while self.written < self.rest.len() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest[self.written..])).map_err(Broken::Write)?;
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

/// Bytes read; 0 at the end of the stream, also when a TLS peer left without close_notify.
fn poll_read(from: &mut Io, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    match ready!(Pin::new(from).poll_read(cx, &mut buffer)) {
        Ok(()) => Poll::Ready(Ok(buffer.filled().len())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
        Err(error) => Poll::Ready(Err(error)),
    }
}

/// What became of the bytes that arrived.
struct Recorded {
    /// How many of them end with a whole header; the others wait for the rest of theirs.
    whole: usize,
    durable_at: Option<u64>,
}

/// Which result data the record keeps, by statement.
struct Results {
    cap: Option<u64>,
    left: u64,
    eliding: bool,
    messages: u64,
    bytes: u64,
}

impl Results {
    fn new(cap: Option<u64>) -> Self {
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
    fn take_elided(&mut self) -> Option<[u8; 16]> {
        if self.messages == 0 {
            return None;
        }
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&std::mem::take(&mut self.messages).to_le_bytes());
        payload[8..].copy_from_slice(&std::mem::take(&mut self.bytes).to_le_bytes());
        Some(payload)
    }
}

pub struct Conversation {
    client: Io,
    upstream: Io,
    requests: Pump,
    answers: Pump,
    results: Results,
    tape: Arc<Session>,
    control: Arc<Control>,
    terminated: bool,
    /// Why the client gets no more answers; they are recorded all the same, up to a bound.
    client_lost: Option<String>,
    /// How many bytes the server may have sent in all before a lost client's session ends.
    unread_until: u64,
    server_lost: Option<String>,
}

/// What the client is told when its session ends for these reasons: encoded ErrorResponses.
pub struct Farewells {
    pub tape: Vec<u8>,
    pub protocol: Vec<u8>,
}

impl Conversation {
    pub fn new(client: Io, upstream: Io, tape: Arc<Session>, cap: Option<u64>, control: Arc<Control>) -> Self {
        control.last_activity.store(now(), Ordering::Relaxed);
        Conversation {
            client,
            upstream,
            requests: Pump::default(),
            answers: Pump::default(),
            results: Results::new(cap),
            tape,
            control,
            terminated: false,
            client_lost: None,
            unread_until: u64::MAX,
            server_lost: None,
        }
    }

    /// Relay to the end of the session, then say good-bye and close both streams.
    pub async fn run(mut self, farewells: Farewells, _load: Option<crate::worker::Load>) {
        let finishing = Finishing(self.control.clone());
        let stop = poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or(Poll::Ready(Stop::Panic))
        })
        .await;
        let (reason, detail, farewell) = match stop {
            Stop::Done(reason) => (reason.to_owned(), None, Vec::new()),
            Stop::Lost(reason, detail) => (reason.to_owned(), Some(detail), Vec::new()),
            Stop::Malformed(who, Malformed { kind, length }) => {
                let kind = char::from(kind).escape_default().to_string();
                let detail = format!("the {who} sent a message of type '{kind}' that announces {length} bytes");
                ("protocol_error".to_owned(), Some(detail), farewells.protocol)
            }
            Stop::Tape(error) => ("tape_error".to_owned(), Some(error.to_string()), farewells.tape),
            Stop::Ordered(order) => (order.reason, None, order.farewell),
            Stop::Panic => return finishing.with(end(&self.control, "panic", None)),
        };
        if let Some(elided) = self.results.take_elided() {
            // The tape may be what failed; the session ends either way.
            let _ = self.tape.append(KIND_ELIDED, &elided);
        }
        let _ = tokio::time::timeout(FAREWELL_WITHIN, self.leave_client(&farewell)).await;
        let _ = tokio::time::timeout(FAREWELL_WITHIN, self.leave_server()).await;
        let finished = end(&self.control, &reason, detail);
        drop(self);
        finishing.with(finished);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        if let Some(order) = self.control.due(cx) {
            return Poll::Ready(Stop::Ordered(order));
        }
        if let Some(stop) = self.poll_requests(cx) {
            return Poll::Ready(stop);
        }
        match self.poll_answers(cx) {
            Some(stop) => Poll::Ready(stop),
            None => Poll::Pending,
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        if self.requests.closed {
            return None;
        }
        let (tape, control, terminated) = (&*self.tape, &*self.control, &mut self.terminated);
        let record = |framer: &mut Framer, arrived: &[u8]| {
            let (mut whole, mut requests) = (0, 0);
            while let Some(part) = framer.next(arrived, whole).map_err(Broken::Malformed)? {
                whole = part.end;
                if part.begins.is_some() {
                    requests += i64::from(matches!(part.kind, b'Q' | b'F' | b'S'));
                    *terminated |= part.kind == b'X';
                }
            }
            if whole == 0 {
                return Ok(Recorded { whole, durable_at: None });
            }
            let position = tape.append(KIND_CLIENT, &arrived[..whole]).map_err(Broken::Tape)?;
            control.outstanding.fetch_add(requests, Ordering::Relaxed);
            control.last_activity.store(now(), Ordering::Relaxed);
            control.client_bytes.fetch_add(whole as u64, Ordering::Relaxed);
            Ok(Recorded { whole, durable_at: tape.tape.durable.as_ref().map(|_| position) })
        };
        match self.requests.poll(cx, &mut self.client, Some(&mut self.upstream), tape, record) {
            Poll::Pending | Poll::Ready(Ok(()) | Err(Broken::Unread)) => None,
            Poll::Ready(Err(Broken::Tape(error))) => Some(Stop::Tape(error)),
            Poll::Ready(Err(Broken::Malformed(malformed))) => Some(Stop::Malformed("client", malformed)),
            Poll::Ready(Err(Broken::Read(error))) => {
                self.lose_client(&error);
                self.poll_requests(cx)
            }
            Poll::Ready(Err(Broken::Write(error))) => {
                // What the server said before it left may still be there to read.
                self.server_lost = Some(error.to_string());
                self.requests.closed = true;
                None
            }
        }
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        let (tape, control, results) = (&*self.tape, &*self.control, &mut self.results);
        let unread_until = self.unread_until;
        let record = |framer: &mut Framer, arrived: &[u8]| {
            let (whole, ready) = record_answers(framer, arrived, results, tape)?;
            if ready > 0 {
                let before = control.outstanding.fetch_sub(ready, Ordering::Relaxed);
                if before < ready {
                    control.outstanding.store(0, Ordering::Relaxed);
                }
            }
            control.last_activity.store(now(), Ordering::Relaxed);
            let passed = control.server_bytes.fetch_add(whole as u64, Ordering::Relaxed);
            if passed > unread_until {
                return Err(Broken::Unread);
            }
            Ok(Recorded { whole, durable_at: None })
        };
        let client = self.client_lost.is_none().then_some(&mut self.client);
        match self.answers.poll(cx, &mut self.upstream, client, tape, record) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => Some(self.server_ended()),
            Poll::Ready(Err(Broken::Tape(error))) => Some(Stop::Tape(error)),
            Poll::Ready(Err(Broken::Malformed(malformed))) => Some(Stop::Malformed("server", malformed)),
            Poll::Ready(Err(Broken::Read(error))) => Some(Stop::Lost("server_lost", error.to_string())),
            Poll::Ready(Err(Broken::Write(error))) => {
                self.lose_client(&error);
                self.poll_requests(cx).or_else(|| self.poll_answers(cx))
            }
            Poll::Ready(Err(Broken::Unread)) => {
                Some(Stop::Lost("client_lost", self.client_lost.take().unwrap_or_default()))
            }
        }
    }

    /// The server sees the end of its input once it has done what it was asked; what it answers is recorded.
    fn lose_client(&mut self, error: &io::Error) {
        self.client_lost = Some(error.to_string());
        self.unread_until = self.control.server_bytes.load(Ordering::Relaxed) + UNREAD_ANSWERS;
        self.requests.ended = true;
    }

    fn server_ended(&mut self) -> Stop {
        match (&mut self.server_lost, &mut self.client_lost) {
            _ if self.terminated => Stop::Done("terminated"),
            (_, Some(why)) => Stop::Lost("client_lost", std::mem::take(why)),
            (Some(why), _) => Stop::Lost("server_lost", std::mem::take(why)),
            _ if self.requests.ended => Stop::Done("client_closed"),
            _ => Stop::Done("server_closed"),
        }
    }

    /// Tell the client why, if it stands at the end of a message, and close its stream in order.
    async fn leave_client(&mut self, farewell: &[u8]) -> io::Result<()> {
        if self.client_lost.is_some() {
            return Ok(());
        }
        if !farewell.is_empty() && self.answers.framer.at_boundary() {
            self.client.write_all(&self.answers.rest[self.answers.written..]).await?;
            self.client.write_all(farewell).await?;
            self.client.flush().await?;
        }
        self.client.shutdown().await?;
        if !farewell.is_empty() {
            // Closing with unread input would reset the connection, and the farewell with it.
            tokio::io::copy(&mut self.client, &mut tokio::io::sink()).await?;
        }
        Ok(())
    }

    async fn leave_server(&mut self) -> io::Result<()> {
        if self.requests.framer.at_boundary() && self.requests.rest.is_empty() && !self.requests.closed {
            self.upstream.write_all(TERMINATE).await?;
            self.upstream.flush().await?;
        }
        self.upstream.shutdown().await
    }
}

/// Record the server's messages, result data up to its cap; gives how many bytes are whole and how many ReadyForQuery they hold.
fn record_answers(
    framer: &mut Framer,
    arrived: &[u8],
    results: &mut Results,
    tape: &Session,
) -> Result<(usize, i64), Broken> {
    let (mut whole, mut kept_from, mut ready) = (0, 0, 0);
    while let Some(part) = framer.next(arrived, whole).map_err(Broken::Malformed)? {
        whole = part.end;
        if let Some(length) = part.begins {
            ready += i64::from(part.kind == b'Z');
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
    Ok((whole, ready))
}

fn append(tape: &Session, kind: u8, payload: &[u8]) -> Result<(), Broken> {
    if payload.is_empty() {
        return Ok(());
    }
    tape.append(kind, payload).map(drop).map_err(Broken::Tape)
}

fn end(control: &Control, reason: &str, detail: Option<String>) -> RelayEnd {
    RelayEnd {
        reason: reason.to_owned(),
        detail,
        client_bytes: control.client_bytes.load(Ordering::Relaxed),
        server_bytes: control.server_bytes.load(Ordering::Relaxed),
    }
}

/// Whoever waits for the end of the session hears of it, also when its task is thrown away.
struct Finishing(Arc<Control>);

impl Finishing {
    fn with(self, end: RelayEnd) {
        self.0.finish(end);
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        if self.0.ended.lock().unwrap().is_none() {
            self.0.finish(end(&self.0, "shutdown", Some("the engine was closed".into())));
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}
