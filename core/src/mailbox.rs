//! The seam to asyncio. Relay threads post what they finished; the event loop's own thread resolves its futures.
//!
//! A relay thread therefore never waits for the GIL: posting is a push under a short lock and, for the first of a batch,
//! one write to an eventfd that the event loop watches.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use rustix::event::{EventfdFlags, eventfd};

use crate::control::RelayEnd;
use crate::stream::Stream;
use crate::{ProtocolError, StreamError};

/// Type and payload.
pub type Message = (u8, Vec<u8>);

/// What an operation gives back.
pub enum Outcome {
    Nothing,
    Byte(Option<u8>),
    Bytes(Vec<u8>),
    Message(Message),
    Messages(Vec<Message>),
    Stream(Stream),
    End(RelayEnd),
}

/// How an operation fails.
#[derive(Debug)]
pub enum Failure {
    Stream(String),
    Protocol(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Stream(error.to_string())
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stream(text) => StreamError::new_err(text),
            Failure::Protocol(text) => ProtocolError::new_err(text),
        }
    }
}

pub type Finished = Result<Outcome, Failure>;

pub struct Mailbox {
    create_future: Mutex<Option<Py<PyAny>>>,
    futures: Mutex<HashMap<u64, Py<PyAny>>>,
    next: AtomicU64,
    finished: Mutex<Vec<(u64, Finished)>>,
    event: OwnedFd,
}

/// The obligation to answer one future, exactly once; a ticket dropped unanswered (a panic, a runtime shut down) fails it.
pub struct Ticket {
    mailbox: Arc<Mailbox>,
    number: u64,
    answered: bool,
}

impl Ticket {
    pub fn answer(mut self, result: Finished) {
        self.answered = true;
        self.mailbox.post(self.number, result);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.mailbox.post(self.number, Err(Failure::Stream("the engine gave this operation up".into())));
        }
    }
}

impl Mailbox {
    pub fn new(create_future: Py<PyAny>) -> std::io::Result<Self> {
        Ok(Mailbox {
            create_future: Mutex::new(Some(create_future)),
            futures: Mutex::default(),
            next: AtomicU64::new(0),
            finished: Mutex::default(),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    pub fn fileno(&self) -> i32 {
        self.event.as_raw_fd()
    }

    /// A new future of the event loop and the ticket that answers it.
    pub fn ticket(self: &Arc<Self>, py: Python<'_>) -> PyResult<(Ticket, Py<PyAny>)> {
        let create = self.create_future.lock().unwrap().as_ref().map(|create| create.clone_ref(py));
        let create = create.ok_or_else(|| StreamError::new_err("the engine is closed"))?;
        let future = create.call0(py)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.futures.lock().unwrap().insert(number, future.clone_ref(py));
        Ok((Ticket { mailbox: self.clone(), number, answered: false }, future))
    }

    fn post(&self, number: u64, result: Finished) {
        let first = {
            let mut finished = self.finished.lock().unwrap();
            finished.push((number, result));
            finished.len() == 1
        };
        if first {
            // Fails only when the counter would overflow, and then the event loop is awake anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Resolve the futures of all finished operations. A future that was cancelled in the meantime is left alone; what it
    /// would have carried (a stream, say) is dropped, and so closed.
    pub fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        let finished = std::mem::take(&mut *self.finished.lock().unwrap());
        // One that cannot be resolved must not keep the others waiting; the first error is told.
        finished
            .into_iter()
            .map(|(number, result)| self.resolve(py, number, result))
            .fold(Ok(()), Result::and)
    }

    fn resolve(&self, py: Python<'_>, number: u64, result: Finished) -> PyResult<()> {
        let future = self.futures.lock().unwrap().remove(&number);
        let Some(future) = future else { return Ok(()) };
        let future = future.bind(py);
        if future.call_method0("done")?.is_truthy()? {
            return Ok(());
        }
        match result {
            Ok(outcome) => future.call_method1("set_result", (outcome.into_object(py)?,))?,
            Err(failure) => future.call_method1("set_exception", (PyErr::from(failure),))?,
        };
        Ok(())
    }

    /// Forget the event loop: nothing can be awaited any more.
    pub fn close(&self) {
        self.create_future.lock().unwrap().take();
        self.futures.lock().unwrap().clear();
    }
}

impl Outcome {
    fn into_object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Outcome::Nothing => py.None(),
            Outcome::Byte(byte) => byte.into_pyobject(py)?.into_any().unbind(),
            Outcome::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Outcome::Message(message) => tuple(py, &message)?.into_any().unbind(),
            Outcome::Messages(messages) => {
                let tuples: Vec<_> = messages.iter().map(|each| tuple(py, each)).collect::<PyResult<_>>()?;
                tuples.into_pyobject(py)?.into_any().unbind()
            }
            Outcome::Stream(stream) => Py::new(py, stream)?.into_any(),
            Outcome::End(end) => Py::new(py, end)?.into_any(),
        })
    }
}

fn tuple<'py>(py: Python<'py>, (kind, payload): &Message) -> PyResult<Bound<'py, PyTuple>> {
    (kind, PyBytes::new(py, payload)).into_pyobject(py)
}
