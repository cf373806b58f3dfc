//! What Python and a session's task say to each other: orders one way, counters and the end the other way.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::mailbox::{Mailbox, Outcome, Ticket};
use crate::results::Answers;

const QUIET_AFTER_READY: Duration = Duration::from_secs(1);

/// What Python and the session's task share.
pub struct Control {
    order: Mutex<Option<Order>>,
    waker: Mutex<Option<Waker>>,
    ended: Mutex<Option<RelayEnd>>,
    waiting: Mutex<Option<Ticket>>,
    /// Requests (Query, FunctionCall, Sync) whose ReadyForQuery has not come.
    outstanding: AtomicI64,
    /// The last message that passed was a ReadyForQuery.
    ready: AtomicBool,
    began: Instant,
    /// Nanoseconds since it began.
    last_activity: AtomicU64,
    pub client_bytes: AtomicU64,
    pub server_bytes: AtomicU64,
    /// Nothing more of the client is taken. A lock, so that whoever holds requests back knows that none is on its way.
    held: Mutex<bool>,
}

#[derive(Clone)]
pub struct Order {
    pub reason: String,
    pub farewell: Vec<u8>,
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
    pub mailbox: Arc<Mailbox>,
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

    #[pyo3(signature = (reason, farewell=Vec::new()), text_signature = "($self, reason, farewell=b'')")]
    fn end(&self, reason: String, farewell: Vec<u8>) {
        self.control.order(Order { reason, farewell, gently: false });
    }

    #[pyo3(signature = (reason, farewell=Vec::new()), text_signature = "($self, reason, farewell=b'')")]
    fn drain(&self, reason: String, farewell: Vec<u8>) {
        self.control.order(Order { reason, farewell, gently: true });
    }

    fn hold(&self) {
        *self.control.held() = true;
    }

    #[getter]
    fn idle(&self) -> bool {
        self.control.idle()
    }

    #[getter]
    fn quiet_seconds(&self) -> f64 {
        self.control.quiet().as_secs_f64()
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
    pub fn new() -> Self {
        Control {
            order: Mutex::default(),
            waker: Mutex::default(),
            ended: Mutex::default(),
            waiting: Mutex::default(),
            outstanding: AtomicI64::new(0),
            ready: AtomicBool::new(true),
            began: Instant::now(),
            last_activity: AtomicU64::new(0),
            client_bytes: AtomicU64::new(0),
            server_bytes: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    /// Whether requests are held back; that does not change while the guard lives.
    pub fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap()
    }

    /// The client's bytes were recorded, and this many requests in them.
    pub fn asked(&self, requests: i64, bytes: usize) {
        self.outstanding.fetch_add(requests, Ordering::Relaxed);
        self.ready.store(false, Ordering::Relaxed);
        self.touch();
        self.client_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The server's answers were recorded.
    pub fn answered(&self, answers: &Answers) {
        if answers.ready > 0 && self.outstanding.fetch_sub(answers.ready, Ordering::Relaxed) < answers.ready {
            self.outstanding.store(0, Ordering::Relaxed);
        }
        if let Some(ready) = answers.ends_ready {
            self.ready.store(ready, Ordering::Relaxed);
        }
        self.touch();
        self.server_bytes.fetch_add(answers.whole as u64, Ordering::Relaxed);
    }

    /// The server has said ReadyForQuery to all that it was asked. A Sync that it ignored (during COPY) is never answered:
    /// then the silence after a ReadyForQuery tells.
    fn idle(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
            && (self.outstanding.load(Ordering::Relaxed) <= 0 || self.quiet() > QUIET_AFTER_READY)
    }

    fn quiet(&self) -> Duration {
        let last = Duration::from_nanos(self.last_activity.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    fn touch(&self) {
        self.last_activity.store(self.began.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

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
    pub fn due(&self, cx: &Context<'_>) -> Option<Order> {
        let mut waker = self.waker.lock().unwrap();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let order = self.order.lock().unwrap();
        order.clone().filter(|order| !order.gently || self.idle())
    }

    fn finish(&self, end: RelayEnd) {
        let mut ended = self.ended.lock().unwrap();
        *ended = Some(end.clone());
        if let Some(ticket) = self.waiting.lock().unwrap().take() {
            ticket.answer(Ok(Outcome::End(end)));
        }
    }
}

pub fn end(control: &Control, reason: &str, detail: Option<String>) -> RelayEnd {
    RelayEnd {
        reason: reason.to_owned(),
        detail,
        client_bytes: control.client_bytes.load(Ordering::Relaxed),
        server_bytes: control.server_bytes.load(Ordering::Relaxed),
    }
}

/// Whoever waits for the end of the session hears of it, also when its task is thrown away.
pub struct Finishing(pub Arc<Control>);

impl Finishing {
    pub fn with(self, end: RelayEnd) {
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
