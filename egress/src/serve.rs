//! The program's one thread.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::rc::Rc;

use skerry_host_process::control;
use skerry_host_process::shares::Shares;
use skerry_host_process::sockets::Sockets;
use skerry_host_process::waiting::{pause, race};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::context::Context;
use crate::hosts::notice_death;
use crate::policies::Policies;
use crate::resolve::Resolver;
use crate::settings::Settings;
use crate::{http, questions, tls, PROGRAM};

/// Serves until a successor dismisses it. Connections end with it: a process that hears of no policy any more must let nothing through.
pub fn serve(settings: Settings, sockets: Sockets, visitors: UnixListener) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let context = Rc::new(Context {
        resolver: Resolver::new(&settings),
        policies: Policies::default(),
        authority: RefCell::default(),
        settings,
    });
    LocalSet::new().block_on(&runtime, async {
        let handed_on = sockets.try_clone()?;
        let mut listeners = sockets.tcp.into_iter();
        let mut listener = || match listeners.next() {
            Some(listener) => TcpListener::from_std(listener),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let shares = Rc::new(Shares::new(context.settings.connections, None));
        let questions = questions::serve_udp(UdpSocket::from_std(sockets.udp)?, context.clone());
        let long_questions = questions::serve_tcp(listener()?, context.clone());
        let tls = accept(
            listener()?,
            shares.clone(),
            context.clone(),
            |client, sandbox, context| async move { tls::serve(client, sandbox, &context).await },
        );
        let http = accept(
            listener()?,
            shares,
            context.clone(),
            |client, sandbox, context| async move { http::serve(client, sandbox, &context).await },
        );
        let visitors = tokio::net::UnixListener::from_std(visitors)?;
        let ordered = context.clone();
        let orders = Rc::new(move |letter, words: &[u8]| ordered.order(letter, words));
        let identity = &context.settings.common.identity;
        let dismissal = control::serve(visitors, PROGRAM, identity, handed_on, Some(orders));
        race(dismissal, race(race(questions, long_questions), race(tls, http))).await;
        io::Result::Ok(())
    })
}

/// Takes connections, each in a place of its own among those of its sandbox.
async fn accept<F, W>(listener: TcpListener, shares: Rc<Shares>, context: Rc<Context>, work: F)
where
    F: Fn(TcpStream, Ipv4Addr, Rc<Context>) -> W,
    W: Future<Output = io::Result<()>> + 'static,
{
    loop {
        let Ok((client, address)) = listener.accept().await else {
            pause().await;
            continue;
        };
        let IpAddr::V4(sandbox) = address.ip() else { continue };
        if client.set_nodelay(true).is_ok() && notice_death(&client).is_ok() {
            shares.run(address.ip(), work(client, sandbox, context.clone()));
        }
    }
}
