//! One byte stream: TCP or a Unix socket, bare or under TLS, bound to one relay thread; driven from Python while a session is
//! set up, then given to the relay.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use pyo3::prelude::*;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::mailbox::{Failure, Mailbox, Message, Outcome};
use crate::tls::{TlsClient, TlsInfo, TlsServer};
use crate::worker::Load;
use crate::{StreamError, frame};

const CLOSE_WITHIN: Duration = Duration::from_secs(2);
const PROBES: u32 = 4;

pub enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub enum Io {
    Plain(Raw),
    Server(Box<server::TlsStream<Raw>>),
    Client(Box<client::TlsStream<Raw>>),
}

macro_rules! delegate {
    ($kind:ident { $($variant:ident),+ }) => {
        impl AsyncRead for $kind {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($kind::$variant(io) => Pin::new(io).poll_read(cx, buf)),+ }
            }
        }
        impl AsyncWrite for $kind {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $($kind::$variant(io) => Pin::new(io).poll_write(cx, buf)),+ }
            }
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($kind::$variant(io) => Pin::new(io).poll_flush(cx)),+ }
            }
            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $($kind::$variant(io) => Pin::new(io).poll_shutdown(cx)),+ }
            }
        }
    };
}

delegate!(Raw { Tcp, Unix });
delegate!(Io { Plain, Server, Client });

impl Io {
    fn tcp(&self) -> Option<&TcpStream> {
        let raw = match self {
            Io::Plain(raw) => raw,
            Io::Server(tls) => tls.get_ref().0,
            Io::Client(tls) => tls.get_ref().0,
        };
        match raw {
            Raw::Tcp(tcp) => Some(tcp),
            Raw::Unix(_) => None,
        }
    }
}

impl Raw {
    /// No delay, and keep-alive probes that notice a vanished peer within about two minutes.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15))
            .with_retries(PROBES);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(Raw::Tcp(stream))
    }
}

/// What the Python object and the operations under way share.
struct Slot {
    io: tokio::sync::Mutex<Option<Io>>,
    tls: Mutex<Option<TlsInfo>>,
    aborted: AtomicBool,
    abort: Notify,
}

impl Slot {
    /// The outcome of `work`, or a failure as soon as the stream is aborted, which also closes it.
    async fn unless_aborted<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let abort = self.abort.notified();
        tokio::pin!(abort);
        abort.as_mut().enable();
        if self.aborted.load(Ordering::Acquire) {
            return Err(aborted());
        }
        tokio::select! {
            biased;
            () = abort => Err(aborted()),
            result = work => result,
        }
    }
}

fn aborted() -> Failure {
    Failure::Stream("the stream was closed".into())
}

fn ended() -> Failure {
    Failure::Stream("the stream ended".into())
}

/// Like `read_exact`, with an end of stream told apart from a failure.
async fn read_whole(io: &mut Io, n: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; n];
    match io.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ended()),
        Err(error) => Err(error.into()),
    }
}

/// One message whose length field is at most `limit`: its type, and its payload.
async fn read_message(io: &mut Io, limit: usize) -> Result<Message, Failure> {
    let header = read_whole(io, frame::HEADER).await?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length < 4 || length > limit {
        let kind = char::from(header[0]).escape_default().to_string();
        return Err(Failure::Protocol(format!("a message of type '{kind}' announces {length} bytes")));
    }
    Ok((header[0], read_whole(io, length - 4).await?))
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Stream {
    slot: Arc<Slot>,
    handle: Handle,
    mailbox: Arc<Mailbox>,
    worker: usize,
    peer: String,
    load: Mutex<Option<Load>>,
}

/// A stream that left Python's hands for a relay.
pub struct Taken {
    pub io: Io,
    pub load: Option<Load>,
}

impl Stream {
    pub fn new(
        raw: Raw,
        peer: Option<SocketAddr>,
        worker: usize,
        handle: Handle,
        mailbox: Arc<Mailbox>,
        load: Option<Load>,
    ) -> Self {
        Stream {
            slot: Arc::new(Slot {
                io: tokio::sync::Mutex::new(Some(Io::Plain(raw))),
                tls: Mutex::default(),
                aborted: AtomicBool::new(false),
                abort: Notify::new(),
            }),
            handle,
            mailbox,
            worker,
            peer: peer.map_or_else(|| "unix".into(), |address| address.to_string()),
            load: Mutex::new(load),
        }
    }

    /// Take the stream out of Python's hands. Fails while an operation is pending, or when it is closed.
    pub fn take(&self) -> PyResult<Taken> {
        let io = self.slot.io.try_lock().ok().and_then(|mut io| io.take());
        let io = io.ok_or_else(|| StreamError::new_err("the stream is closed or busy"))?;
        Ok(Taken { io, load: self.load().take() })
    }

    /// The same connection on another relay thread. Only a bare TCP stream can be moved.
    pub fn moved(&self, worker: usize, handle: Handle, load: Load) -> PyResult<Stream> {
        let taken = self.take()?;
        let Io::Plain(Raw::Tcp(tcp)) = taken.io else {
            return Err(StreamError::new_err("only a bare TCP stream can be moved"));
        };
        let peer = tcp.peer_addr()?;
        let tcp = tcp.into_std()?;
        let raw = {
            let _entered = handle.enter();
            Raw::Tcp(TcpStream::from_std(tcp)?)
        };
        Ok(Stream::new(raw, Some(peer), worker, handle, self.mailbox.clone(), Some(load)))
    }

    fn load(&self) -> MutexGuard<'_, Option<Load>> {
        self.load.lock().unwrap()
    }

    /// Run `work` on the stream's relay thread. It gets the stream and gives it back; a failure closes it.
    fn start<F, W>(&self, py: Python<'_>, work: F) -> PyResult<Py<PyAny>>
    where
        F: FnOnce(Io, Arc<Slot>) -> W + Send + 'static,
        W: Future<Output = Result<(Io, Outcome), Failure>> + Send,
    {
        let (ticket, future) = self.mailbox.ticket(py)?;
        let slot = self.slot.clone();
        self.handle.spawn(async move {
            let mut held = slot.io.lock().await;
            let result = match held.take() {
                Some(io) => slot.unless_aborted(work(io, slot.clone())).await,
                None => Err(aborted()),
            };
            let answer = result.map(|(io, outcome)| {
                *held = Some(io);
                outcome
            });
            drop(held);
            ticket.answer(answer);
        });
        Ok(future)
    }
}

#[pymethods]
impl Stream {
    #[getter(worker)]
    pub fn worker(&self) -> usize {
        self.worker
    }

    #[getter]
    fn peer(&self) -> &str {
        &self.peer
    }

    #[getter]
    fn tls(&self) -> Option<TlsInfo> {
        self.slot.tls.lock().unwrap().clone()
    }

    fn keep_alive(&self, py: Python<'_>, idle_seconds: u64, dead_seconds: u64) -> PyResult<Py<PyAny>> {
        self.start(py, move |io, _| async move {
            if let Some(tcp) = io.tcp() {
                let probes = TcpKeepalive::new()
                    .with_time(Duration::from_secs(idle_seconds))
                    .with_interval(Duration::from_secs(idle_seconds))
                    .with_retries(PROBES);
                let socket = SockRef::from(tcp);
                socket.set_tcp_keepalive(&probes)?;
                socket.set_tcp_user_timeout(Some(Duration::from_secs(dead_seconds)))?;
            }
            Ok((io, Outcome::Nothing))
        })
    }

    fn peek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.start(py, |io, _| async move {
            let Io::Plain(Raw::Tcp(tcp)) = &io else {
                return Err(Failure::Stream("only a bare TCP stream can be peeked at".into()));
            };
            let mut byte = [0];
            let n = tcp.peek(&mut byte).await?;
            Ok((io, Outcome::Byte((n > 0).then_some(byte[0]))))
        })
    }

    fn read_exactly(&self, py: Python<'_>, n: usize) -> PyResult<Py<PyAny>> {
        self.start(py, move |mut io, _| async move {
            let bytes = read_whole(&mut io, n).await?;
            Ok((io, Outcome::Bytes(bytes)))
        })
    }

    fn read_message(&self, py: Python<'_>, limit: usize) -> PyResult<Py<PyAny>> {
        self.start(py, move |mut io, _| async move {
            let message = read_message(&mut io, limit).await?;
            Ok((io, Outcome::Message(message)))
        })
    }

    fn read_messages(&self, py: Python<'_>, limit: usize, until: Vec<u8>) -> PyResult<Py<PyAny>> {
        self.start(py, move |mut io, _| async move {
            let mut messages = Vec::new();
            let mut left = limit;
            loop {
                let (kind, payload) = read_message(&mut io, left).await?;
                left = left.saturating_sub(payload.len() + frame::HEADER);
                messages.push((kind, payload));
                if until.contains(&kind) {
                    return Ok((io, Outcome::Messages(messages)));
                }
            }
        })
    }

    fn write(&self, py: Python<'_>, data: Vec<u8>) -> PyResult<Py<PyAny>> {
        self.start(py, move |mut io, _| async move {
            io.write_all(&data).await?;
            io.flush().await?;
            Ok((io, Outcome::Nothing))
        })
    }

    fn start_tls_server(&self, py: Python<'_>, config: &TlsServer) -> PyResult<Py<PyAny>> {
        let acceptor = TlsAcceptor::from(config.config.clone());
        self.start(py, move |io, slot| async move {
            let stream = acceptor.accept(bare(io)?).await?;
            *slot.tls.lock().unwrap() = Some(TlsInfo::of(stream.get_ref().1));
            Ok((Io::Server(Box::new(stream)), Outcome::Nothing))
        })
    }

    fn start_tls_client(
        &self,
        py: Python<'_>,
        config: &TlsClient,
        server_name: Option<String>,
    ) -> PyResult<Py<PyAny>> {
        let name = server_name.and_then(|name| ServerName::try_from(name).ok());
        let (config, name) = match name {
            Some(name @ ServerName::DnsName(_)) => (&config.named, name),
            // Nothing is sent; the verifier leaves names to the caller, so this one is never looked at.
            _ => (&config.nameless, ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())),
        };
        let connector = TlsConnector::from(config.clone());
        self.start(py, move |io, slot| async move {
            let stream = connector.connect(name, bare(io)?).await?;
            *slot.tls.lock().unwrap() = Some(TlsInfo::of(stream.get_ref().1));
            Ok((Io::Client(Box::new(stream)), Outcome::Nothing))
        })
    }

    fn abort(&self) {
        self.slot.aborted.store(true, Ordering::Release);
        self.slot.abort.notify_waiters();
        // Without an operation under way nobody holds the lock; with one, its failure closes the stream.
        if let Ok(mut io) = self.slot.io.try_lock() {
            io.take();
        }
        self.load().take();
    }

    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (ticket, future) = self.mailbox.ticket(py)?;
        let slot = self.slot.clone();
        self.load().take();
        self.handle.spawn(async move {
            let io = slot.io.lock().await.take();
            if let Some(mut io) = io {
                // The peer may be gone or not reading; either way the stream is closed when this returns.
                let _ = tokio::time::timeout(CLOSE_WITHIN, io.shutdown()).await;
            }
            ticket.answer(Ok(Outcome::Nothing));
        });
        Ok(future)
    }
}

fn bare(io: Io) -> Result<Raw, Failure> {
    match io {
        Io::Plain(raw) => Ok(raw),
        _ => Err(Failure::Stream("the stream is under TLS already".into())),
    }
}
