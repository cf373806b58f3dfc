//! Durability `disk`: a client's chunk is forwarded when it is on stable storage. One thread syncs for all who wait.

use std::io;
use std::sync::{Condvar, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    synced: u64,
    failed: Option<String>,
    waiters: Vec<(u64, Waker)>,
    stopped: bool,
}

#[derive(Default)]
pub struct Durable {
    state: Mutex<State>,
    wanted: Condvar,
}

impl Durable {
    /// Ready once everything before `position` is on stable storage, or when syncing failed.
    pub fn poll(&self, cx: &mut Context<'_>, position: u64) -> Poll<io::Result<()>> {
        let mut state = self.state.lock().unwrap();
        if let Some(reason) = &state.failed {
            return Poll::Ready(Err(io::Error::other(reason.clone())));
        }
        if state.synced >= position {
            return Poll::Ready(Ok(()));
        }
        // A task is polled for other reasons too while it waits; one entry each is enough.
        if !state.waiters.iter().any(|(at, waker)| *at == position && waker.will_wake(cx.waker())) {
            state.waiters.push((position, cx.waker().clone()));
        }
        self.wanted.notify_one();
        Poll::Pending
    }

    /// Block until somebody waits; false when stopped.
    pub fn wait_for_demand(&self) -> bool {
        let state = self.state.lock().unwrap();
        let state =
            self.wanted.wait_while(state, |state| state.waiters.is_empty() && !state.stopped).unwrap();
        !state.stopped
    }

    /// All before `position` is synced, or syncing failed, for good: after a failed sync nobody knows what was written.
    pub fn publish(&self, result: io::Result<u64>) {
        let woken: Vec<Waker> = {
            let mut state = self.state.lock().unwrap();
            match result {
                Ok(position) => state.synced = state.synced.max(position),
                Err(error) => state.failed = Some(format!("syncing the tape failed: {error}")),
            }
            let (synced, failed) = (state.synced, state.failed.is_some());
            let (ready, waiting) = state.waiters.drain(..).partition(|(at, _)| failed || *at <= synced);
            state.waiters = waiting;
            let ready: Vec<(u64, Waker)> = ready;
            ready.into_iter().map(|(_, waker)| waker).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.wanted.notify_all();
    }
}
