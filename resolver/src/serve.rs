//! The resolver's one thread.

use std::future::{poll_fn, Future};
use std::io;
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::settings::Settings;
use crate::sockets::Sockets;
use crate::{control, tcp, udp};

/// Answers until a successor dismisses it, and then what it has begun.
pub fn serve(settings: Settings, sockets: Sockets, visitors: UnixListener) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let settings = Rc::new(settings);
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let handed_on = sockets.try_clone()?;
        let questions = udp::serve(tokio::net::UdpSocket::from_std(sockets.udp)?, settings.clone());
        let connections = tcp::serve(tokio::net::TcpListener::from_std(sockets.tcp)?, settings.clone());
        let visitors = tokio::net::UnixListener::from_std(visitors)?;
        let dismissal = control::serve(visitors, &settings.identity, handed_on);
        race(dismissal, race(questions, connections)).await;
        io::Result::Ok(())
    })?;
    // No connection lasts longer, and no question takes as long.
    let _ = runtime.block_on(async { timeout(settings.connection, tasks).await });
    Ok(())
}

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
