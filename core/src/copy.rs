//! Bytes between the tunnel and a database, both ways: no parsing, no tape. What the gateway recorded, the connector only carries.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::control::{Control, Finishing, end};
use crate::frame::Framer;
use crate::pump::{Broken, Pump, Recorded};
use crate::stream::Io;

const LEAVE_WITHIN: Duration = Duration::from_secs(2);

pub struct Copying {
    tunnel: Io,
    database: Io,
    there: Pump,
    back: Pump,
    control: Arc<Control>,
}

/// Why the copying stopped.
enum Stop {
    Closed,
    Lost(String),
    Ordered(String),
    Panic,
}

impl Copying {
    pub fn new(tunnel: Io, database: Io, control: Arc<Control>) -> Self {
        let (mut there, back) = (Pump::default(), Pump::default());
        there.strict = true;
        Copying { tunnel, database, there, back, control }
    }

    /// Until the database's end was passed on. A side that is lost is lost to the other side as well: its stream is dropped, not
    /// ended, so that the peer can tell the two apart.
    pub async fn run(mut self) {
        let finishing = Finishing(self.control.clone());
        let stop = poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| self.poll(cx))).unwrap_or(Poll::Ready(Stop::Panic))
        })
        .await;
        let (reason, detail) = match stop {
            Stop::Closed => ("closed".to_owned(), None),
            Stop::Lost(detail) => ("lost".to_owned(), Some(detail)),
            Stop::Ordered(reason) => (reason, None),
            Stop::Panic => ("panic".to_owned(), None),
        };
        let finished = end(&self.control, &reason, detail);
        if reason == "closed" {
            // A peer that is gone or not reading is left all the same.
            let _ = timeout(LEAVE_WITHIN, self.database.shutdown()).await;
        }
        drop(self);
        finishing.with(finished);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        let control = self.control.clone();
        if !self.there.closed {
            let there = carry(&control.client_bytes);
            match self.there.poll(cx, &mut self.tunnel, Some(&mut self.database), None, there) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                // What the database said before it closed its stream may still be there to read.
                Poll::Ready(Err(Broken::Write(_))) => self.there.closed = true,
                Poll::Ready(Err(broken)) => return Poll::Ready(lost("tunnel", &broken)),
            }
        }
        let back = carry(&control.server_bytes);
        match self.back.poll(cx, &mut self.database, Some(&mut self.tunnel), None, back) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => return Poll::Ready(Stop::Closed),
            Poll::Ready(Err(Broken::Write(error))) => return Poll::Ready(lost("tunnel", &error)),
            Poll::Ready(Err(broken)) => return Poll::Ready(lost("database", &broken)),
        }
        control.due(cx).map_or(Poll::Pending, |order| Poll::Ready(Stop::Ordered(order.reason)))
    }
}

fn lost(who: &str, why: &impl std::fmt::Display) -> Stop {
    Stop::Lost(format!("the {who}'s stream: {why}"))
}

/// All that arrived goes on as it is.
fn carry(counter: &AtomicU64) -> impl FnMut(&mut Framer, &[u8]) -> Result<Recorded, Broken> {
    |_, arrived| {
        counter.fetch_add(arrived.len() as u64, Ordering::Relaxed);
        Ok(Recorded { whole: arrived.len(), durable_at: None })
    }
}
