//! What is to happen later, in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A process has had its time.
    Deadline(u64),
    /// A process is gone, and what its children or its terminal had left to say at that moment should have come by now.
    Drain(u64),
    /// What listens on a port has had its time to take a connection.
    Port(u64),
    /// Try the server's socket again.
    Dial,
    /// Give memory back that has been idle for a while.
    Sweep,
    /// What did not follow SIGTERM gets SIGKILL.
    Stop,
}

#[derive(Default)]
pub struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    /// Returns the moment, which `cancel` needs. A delay beyond what the clock can hold never comes.
    pub fn after(&mut self, delay: Duration, timer: Timer) -> Option<Instant> {
        let at = Instant::now().checked_add(delay)?;
        self.0.insert((at, timer));
        Some(at)
    }

    pub fn cancel(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// The next timer that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let first = *self.0.iter().next()?;
        if first.0 > now {
            return None;
        }
        self.0.remove(&first);
        Some(first.1)
    }

    /// How long epoll may sleep, in milliseconds rounded up; -1: for ever.
    pub fn sleep_ms(&self) -> i32 {
        match self.0.iter().next() {
            None => -1,
            Some((at, _)) => {
                let left = at.saturating_duration_since(Instant::now()).as_micros();
                ((left + 999) / 1000).min(60_000) as i32
            }
        }
    }
}
