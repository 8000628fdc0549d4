//! The resolver's one thread.

use std::io;
use std::os::unix::net::UnixListener;
use std::rc::Rc;

use skerry_host_process::control;
use skerry_host_process::sockets::Sockets;
use skerry_host_process::waiting::race;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::names::Names;
use crate::settings::Settings;
use crate::{tcp, udp, PROGRAM};

/// Answers until a successor dismisses it, and then what it has begun.
pub fn serve(settings: Settings, sockets: Sockets, visitors: UnixListener) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let settings = Rc::new(settings);
    let names = Rc::new(Names::default());
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let handed_on = sockets.try_clone()?;
        let questions = udp::serve(tokio::net::UdpSocket::from_std(sockets.udp)?, settings.clone(), names.clone());
        let Some(listener) = sockets.tcp.into_iter().next() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let connections = tcp::serve(tokio::net::TcpListener::from_std(listener)?, settings.clone(), names.clone());
        let visitors = tokio::net::UnixListener::from_std(visitors)?;
        let orders: control::Orders = Rc::new(move |letter, words| names.order(letter, words));
        let dismissal = control::serve(visitors, PROGRAM, &settings.common.identity, handed_on, Some(orders));
        race(dismissal, race(questions, connections)).await;
        io::Result::Ok(())
    })?;
    // No connection lasts longer, and no question takes as long.
    let _ = runtime.block_on(async { timeout(settings.connection, tasks).await });
    Ok(())
}
