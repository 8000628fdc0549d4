//! Work of one connection on the program's one thread: it ends with the connection.

use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::rc::{Rc, Weak};
use std::task::Poll;

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Whoever drops it ends all of it.
#[derive(Default)]
pub struct LocalTasks(Rc<RefCell<JoinSet<()>>>);

/// Starts work as long as its owner is there. Work may have one.
#[derive(Clone)]
pub struct Starter(Weak<RefCell<JoinSet<()>>>);

impl LocalTasks {
    pub fn starter(&self) -> Starter {
        Starter(Rc::downgrade(&self.0))
    }

    /// Waits until nothing of it is left.
    pub async fn finish(&self) {
        poll_fn(|context| loop {
            match self.0.borrow_mut().poll_join_next(context) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        })
        .await;
    }
}

impl<F: Future + 'static> Executor<F> for Starter {
    fn execute(&self, work: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            work.await;
        });
    }
}
