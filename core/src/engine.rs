//! The engine: relay threads, the mailbox to one event loop, and the doors through which streams come in and go out.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::StreamError;
use crate::control::{Control, Relay};
use crate::copy::Copying;
use crate::mailbox::{Failure, Mailbox, Outcome};
use crate::relay::{Conversation, Farewells};
use crate::stream::{Raw, Stream};
use crate::tape_api::SessionTape;
use crate::worker::{Load, Worker, threads_for};

type Workers = Arc<Mutex<Vec<Worker>>>;

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Engine {
    workers: Workers,
    mailbox: Arc<Mailbox>,
    threads: usize,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (create_future, threads=0))]
    fn new(create_future: Py<PyAny>, threads: usize) -> PyResult<Self> {
        let threads = threads_for(threads);
        let workers = (0..threads).map(Worker::start).collect::<Result<Vec<_>, _>>()?;
        let mailbox = Arc::new(Mailbox::new(create_future)?);
        Ok(Engine { workers: Arc::new(Mutex::new(workers)), mailbox, threads })
    }

    #[getter]
    fn threads(&self) -> usize {
        self.threads
    }

    fn fileno(&self) -> i32 {
        self.mailbox.fileno()
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.mailbox.drain(py)
    }

    #[pyo3(signature = (host, port, backlog=1024))]
    fn listen(&self, host: &str, port: u16, backlog: u32) -> PyResult<Listener> {
        let address = SocketAddr::new(literal(host)?, port);
        let handle = self.handle(0)?;
        let _entered = handle.enter();
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(backlog)?;
        let address = listener.local_addr()?;
        Ok(Listener {
            listener: Mutex::new(Some(Arc::new(listener))),
            accepting: Mutex::default(),
            address,
            workers: self.workers.clone(),
            mailbox: self.mailbox.clone(),
            handle: handle.clone(),
        })
    }

    fn connect_tcp(&self, py: Python<'_>, address: &str, port: u16, worker: usize) -> PyResult<Py<PyAny>> {
        let address = SocketAddr::new(literal(address)?, port);
        self.connect(py, worker, async move {
            let raw = Raw::tcp(TcpStream::connect(address).await?)?;
            Ok((raw, Some(address)))
        })
    }

    fn connect_unix(&self, py: Python<'_>, path: String, worker: usize) -> PyResult<Py<PyAny>> {
        self.connect(py, worker, async move { Ok((Raw::Unix(UnixStream::connect(path).await?), None)) })
    }

    #[pyo3(signature = (client, upstream, tape, *, results, tape_farewell, protocol_farewell, lost_farewell=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn relay(
        &self,
        client: &Stream,
        upstream: &Stream,
        tape: &SessionTape,
        results: i64,
        tape_farewell: Vec<u8>,
        protocol_farewell: Vec<u8>,
        lost_farewell: Option<Vec<u8>>,
    ) -> PyResult<Relay> {
        if client.worker() != upstream.worker() {
            return Err(PyValueError::new_err("both streams of a session belong on one relay thread"));
        }
        let handle = self.handle(client.worker())?;
        let client = client.take()?;
        let upstream = upstream.take()?;
        let control = Arc::new(Control::new());
        let cap = u64::try_from(results).ok();
        let conversation =
            Conversation::new(client.io, upstream.io, tape.session.clone(), cap, control.clone());
        let farewells = Farewells { tape: tape_farewell, protocol: protocol_farewell, lost: lost_farewell };
        handle.spawn(conversation.run(farewells, client.load));
        Ok(Relay { control, mailbox: self.mailbox.clone() })
    }

    fn copy(&self, tunnel: &Stream, database: &Stream) -> PyResult<Relay> {
        let handle = self.handle(database.worker())?;
        let (tunnel, database) = (tunnel.take()?, database.take()?);
        let control = Arc::new(Control::new());
        handle.spawn(Copying::new(tunnel.io, database.io, control.clone()).run());
        Ok(Relay { control, mailbox: self.mailbox.clone() })
    }

    fn r#move(&self, stream: &Stream, worker: usize) -> PyResult<Stream> {
        let (handle, load) = {
            let workers = self.workers.lock().unwrap();
            let worker = workers.get(worker).ok_or_else(|| StreamError::new_err("no such relay thread"))?;
            (worker.handle.clone(), worker.load())
        };
        stream.moved(worker, handle, load)
    }

    fn close(&self, py: Python<'_>) {
        let workers = std::mem::take(&mut *self.workers.lock().unwrap());
        py.detach(|| workers.into_iter().for_each(|mut worker| worker.stop()));
        self.mailbox.close();
    }
}

impl Engine {
    fn handle(&self, worker: usize) -> PyResult<Handle> {
        let workers = self.workers.lock().unwrap();
        let worker = workers
            .get(worker)
            .ok_or_else(|| StreamError::new_err("no such relay thread, or it is stopped"))?;
        Ok(worker.handle.clone())
    }

    /// Cancelling the future ends the dial, whose descriptor would otherwise be held until the kernel gives up.
    fn connect<F>(&self, py: Python<'_>, worker: usize, dial: F) -> PyResult<Py<PyAny>>
    where
        F: Future<Output = std::io::Result<(Raw, Option<SocketAddr>)>> + Send + 'static,
    {
        let handle = self.handle(worker)?;
        let (ticket, future) = self.mailbox.ticket(py)?;
        let (home, mailbox) = (handle.clone(), self.mailbox.clone());
        let dialling = handle.spawn(async move {
            let stream = dial.await.map(|(raw, peer)| Stream::new(raw, peer, worker, home, mailbox, None));
            ticket.answer(stream.map(Outcome::Stream).map_err(Failure::from));
        });
        let cancel = Py::new(py, CancelDial(dialling.abort_handle()))?;
        future.call_method1(py, "add_done_callback", (cancel,))?;
        Ok(future)
    }
}

/// Called when a dial's future is done, by its result or because nobody wants it any more.
#[pyclass(frozen)]
struct CancelDial(AbortHandle);

#[pymethods]
impl CancelDial {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        // Without effect on a dial that has its result.
        self.0.abort();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

fn literal(host: &str) -> PyResult<IpAddr> {
    host.parse().map_err(|_| PyValueError::new_err(format!("'{host}' is not an IP address")))
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Listener {
    listener: Mutex<Option<Arc<TcpListener>>>,
    accepting: Mutex<Option<AbortHandle>>,
    address: SocketAddr,
    workers: Workers,
    mailbox: Arc<Mailbox>,
    handle: Handle,
}

#[pymethods]
impl Listener {
    #[getter]
    fn host(&self) -> String {
        self.address.ip().to_string()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.address.port()
    }

    fn accept(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let listener = self.listener.lock().unwrap().clone();
        let listener = listener.ok_or_else(|| StreamError::new_err("the listener is closed"))?;
        let (ticket, future) = self.mailbox.ticket(py)?;
        let (workers, mailbox) = (self.workers.clone(), self.mailbox.clone());
        let accepting = self.handle.spawn(async move {
            let accepted =
                listener.accept().await.and_then(|(stream, peer)| settle(stream, peer, &workers, mailbox));
            ticket.answer(accepted.map(Outcome::Stream).map_err(Failure::from));
        });
        *self.accepting.lock().unwrap() = Some(accepting.abort_handle());
        Ok(future)
    }

    fn close(&self) {
        self.listener.lock().unwrap().take();
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
    }
}

/// Move an accepted client to the least loaded relay thread.
fn settle(
    stream: TcpStream,
    peer: SocketAddr,
    workers: &Workers,
    mailbox: Arc<Mailbox>,
) -> std::io::Result<Stream> {
    let (index, handle, load): (usize, Handle, Load) = {
        let workers = workers.lock().unwrap();
        let worker = workers.iter().min_by_key(|worker| worker.clients());
        let worker = worker.ok_or_else(|| std::io::Error::other("the engine is closed"))?;
        (worker.index, worker.handle.clone(), worker.load())
    };
    let stream = stream.into_std()?;
    let _entered = handle.enter();
    let raw = Raw::tcp(TcpStream::from_std(stream)?)?;
    drop(_entered);
    Ok(Stream::new(raw, Some(peer), index, handle, mailbox, Some(load)))
}
