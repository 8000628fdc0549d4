//! Waiting on one thread.

use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

/// Waits for either, and drops the other.
pub async fn race(one: impl Future, other: impl Future) {
    let mut one = pin!(one);
    let mut other = pin!(other);
    poll_fn(|context| {
        if one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Before another try of what the system refused: it lacks memory or descriptors, say.
pub async fn pause() {
    sleep(Duration::from_millis(20)).await;
}
