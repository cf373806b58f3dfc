//! Relay threads: each a single-threaded tokio runtime that owns its streams and sessions from birth to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub struct Worker {
    pub index: usize,
    pub handle: Handle,
    clients: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Counts one client on its relay thread, as long as it lives.
pub struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    pub fn start(index: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("relay-{index}")).spawn(move || {
            // An error means that the sender was dropped, which is a stop as well.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Worker { index, handle, clients: Arc::default(), stop: Some(stop), thread: Some(thread) })
    }

    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    pub fn load(&self) -> Load {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Load(self.clients.clone())
    }

    /// Abort all its tasks, which closes their streams, and join the thread.
    pub fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread itself has been reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// Half the cores: the others are left to the control plane, the indexer and whoever else is on the machine.
pub fn threads_for(requested: usize) -> usize {
    match requested {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 16)),
        threads => threads,
    }
}
