//! One session's bytes, both ways: recorded first, then forwarded.
//!
//! A session is one task on its relay thread. It reads into a scratch buffer that all sessions of the thread share, records what it
//! read, writes it to the other side, and keeps only what the other side would not take yet; while there is such a rest it
//! does not read. An idle session therefore holds no buffer, and a slow reader slows its own session only.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::control::{Control, Finishing, Order, end};
use crate::frame::{Framer, Malformed};
use crate::pump::{Broken, Pump, Recorded};
use crate::results::{Results, record_answers};
use crate::stream::Io;
use crate::tape::{KIND_CLIENT, KIND_ELIDED, Session};
use crate::worker::Load;

/// How long a client may take to accept its farewell.
const FAREWELL_WITHIN: Duration = Duration::from_secs(2);
/// What the server may still answer to a client that is gone, so that the outcome of its last statements is on record.
const UNREAD_ANSWERS: u64 = 1 << 20;
const TERMINATE: &[u8] = b"X\0\0\0\x04";
const SERVER_LOST: &str = "server_lost";

/// Why the relaying stopped.
enum Stop {
    Done(&'static str),
    Lost(&'static str, String),
    Malformed(&'static str, Malformed),
    Tape(io::Error),
    Ordered(Order),
    Panic,
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
    /// None: a server that is cut off has ended its stream, as far as the client is told.
    pub lost: Option<Vec<u8>>,
}

impl Conversation {
    pub fn new(
        client: Io,
        upstream: Io,
        tape: Arc<Session>,
        cap: Option<u64>,
        control: Arc<Control>,
    ) -> Self {
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
    pub async fn run(mut self, farewells: Farewells, _load: Option<Load>) {
        self.answers.strict = farewells.lost.is_some();
        let finishing = Finishing(self.control.clone());
        let stop = poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or(Poll::Ready(Stop::Panic))
        })
        .await;
        let (reason, detail, farewell) = match stop {
            Stop::Done(reason) => (reason.to_owned(), None, Vec::new()),
            Stop::Lost(reason, detail) => {
                let farewell =
                    if reason == SERVER_LOST { farewells.lost.unwrap_or_default() } else { Vec::new() };
                (reason.to_owned(), Some(detail), farewell)
            }
            Stop::Malformed(who, Malformed { kind, length }) => {
                let kind = char::from(kind).escape_default().to_string();
                let detail =
                    format!("the {who} sent a message of type '{kind}' that announces {length} bytes");
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
        let finished = end(&self.control, &reason, detail);
        let Conversation { mut client, mut upstream, requests, answers, client_lost, .. } = self;
        let leaving_client = async {
            match client_lost {
                Some(_) => Ok(()),
                None => leave_client(&mut client, &answers, &farewell).await,
            }
        };
        // Peers that are gone or not reading are left all the same.
        let _ = tokio::join!(
            timeout(FAREWELL_WITHIN, leaving_client),
            timeout(FAREWELL_WITHIN, leave_server(&mut upstream, &requests)),
        );
        if !farewell.is_empty() {
            // Closing with unread input would reset the connection, and the farewell with it; the session is over all the same.
            tokio::spawn(timeout(FAREWELL_WITHIN, async move {
                let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
            }));
        }
        drop(upstream);
        finishing.with(finished);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let stop = self.poll_unheld_requests(cx).or_else(|| self.poll_answers(cx));
        // After the answers: a ReadyForQuery among them may be what a drain waits for.
        let stop = stop.or_else(|| self.control.due(cx).map(Stop::Ordered));
        stop.map_or(Poll::Pending, Poll::Ready)
    }

    /// Whoever holds requests back waits here until those under way are recorded and forwarded: none follows.
    fn poll_unheld_requests(&mut self, cx: &mut Context<'_>) -> Option<Stop> {
        let control = self.control.clone();
        let held = control.held();
        if *held { None } else { self.poll_requests(cx) }
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
            control.asked(requests, whole);
            Ok(Recorded { whole, durable_at: tape.tape.durable.as_ref().map(|_| position) })
        };
        match self.requests.poll(cx, &mut self.client, Some(&mut self.upstream), Some(tape), record) {
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
            let answers = record_answers(framer, arrived, results, tape)?;
            control.answered(&answers);
            if control.server_bytes.load(Ordering::Relaxed) > unread_until {
                return Err(Broken::Unread);
            }
            Ok(Recorded { whole: answers.whole, durable_at: None })
        };
        let client = self.client_lost.is_none().then_some(&mut self.client);
        match self.answers.poll(cx, &mut self.upstream, client, Some(tape), record) {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => Some(self.server_ended()),
            Poll::Ready(Err(Broken::Tape(error))) => Some(Stop::Tape(error)),
            Poll::Ready(Err(Broken::Malformed(malformed))) => Some(Stop::Malformed("server", malformed)),
            Poll::Ready(Err(Broken::Read(error))) => Some(Stop::Lost(SERVER_LOST, error.to_string())),
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
            (Some(why), _) => Stop::Lost(SERVER_LOST, std::mem::take(why)),
            _ if self.requests.ended => Stop::Done("client_closed"),
            _ => Stop::Done("server_closed"),
        }
    }
}

/// Tell the client why, if it stands at the end of a message, and close its stream in order.
async fn leave_client(client: &mut Io, answers: &Pump, farewell: &[u8]) -> io::Result<()> {
    if !farewell.is_empty() && answers.framer.at_boundary() {
        client.write_all(&answers.rest[answers.written..]).await?;
        client.write_all(farewell).await?;
        client.flush().await?;
    }
    client.shutdown().await
}

async fn leave_server(upstream: &mut Io, requests: &Pump) -> io::Result<()> {
    if requests.framer.at_boundary() && requests.rest.is_empty() && !requests.closed {
        upstream.write_all(TERMINATE).await?;
        upstream.flush().await?;
    }
    upstream.shutdown().await
}
