//! Connections of sandboxes to hosts for which they have secret headers. TLS ends here, with a certificate that only such sandboxes take; each request is given
//! the headers and goes on to the host, whose certificate must be good, over TLS again. What the host answers is passed on as it comes.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{pending, poll_fn, Future};
use std::io;
use std::net::Ipv4Addr;
use std::pin::{pin, Pin};
use std::rc::Rc;

use http::header::{HeaderValue, ALT_SVC, CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn as to_host;
use hyper::rt::Executor;
use hyper::server::conn as to_client;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use tokio::io::{copy_bidirectional, join, AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use crate::authority::Authority;
use crate::context::Context;
use crate::counted::Counted;
use crate::hosts::Talk;
use crate::local_tasks::{LocalTasks, Starter};
use crate::secret_request::{rewrite, strip, Refusal};

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
/// Bytes of a head.
const MAX_HEAD: usize = 64 << 10;
/// Bytes of bodies that are under way, of a request and of a connection: more is not read before these went on. The host is farther away than the client.
const HOST_WINDOWS: (u32, u32) = (256 << 10, 512 << 10);
const CLIENT_WINDOWS: (u32, u32) = (64 << 10, 128 << 10);
const SEND_BUFFER: usize = 32 << 10;
const MAX_REQUESTS: u32 = 100;

type Failure = Box<dyn Error + Send + Sync>;
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Which sandbox talks to which host; both stay as long as the connection.
pub struct Ends {
    pub context: Rc<Context>,
    pub sandbox: Ipv4Addr,
    pub host: String,
}

/// @param said what the client has said already. @param talked counts what passes
pub async fn serve(client: TcpStream, said: Vec<u8>, host: TcpStream, ends: Ends, talked: &Talk<'_>) -> io::Result<()> {
    let authority = ends.context.authority().ok_or(io::ErrorKind::NotConnected)?;
    let patience = ends.context.settings.greeting;
    let (from_client, into_client) = client.into_split();
    let client = join(io::Cursor::new(said).chain(from_client), into_client);
    let client = Counted::new(client, talked.received.clone());
    let hello = timeout(patience, LazyConfigAcceptor::new(Acceptor::default(), client)).await??;
    let asked: Option<Vec<Vec<u8>>> = hello.client_hello().alpn().map(|all| all.map(<[u8]>::to_vec).collect());
    let wants = |protocol: &[u8]| asked.iter().flatten().any(|each| each == protocol);
    let protocols: &[&[u8]] = match (wants(HTTP_2), wants(HTTP_1)) {
        (true, true) => &[HTTP_2, HTTP_1],
        (true, false) => &[HTTP_2],
        _ => &[HTTP_1],
    };
    let tasks = LocalTasks::default();
    let host = Counted::new(host, talked.sent.clone());
    let meeting = meet(host, &authority, &ends.host, protocols, &tasks);
    let met = timeout(patience, meeting)
        .await
        .unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
    let is_new = match &met {
        Ok(host) => matches!(host.sender, Sender::New(_)),
        Err(_) => wants(HTTP_2),
    };
    let protocol = asked.as_ref().map(|_| if is_new { HTTP_2 } else { HTTP_1 });
    let config = authority.host(&ends.host, protocol).ok_or(io::ErrorKind::Other)?;
    let client = timeout(patience, hello.into_stream(config)).await??;
    converse(TokioIo::new(client), is_new, Rc::new((ends, met)), tasks.starter()).await;
    tasks.finish().await; // a WebSocket goes on
    Ok(())
}

/// A host that can be asked, or why it cannot.
type Met = Result<Host, String>;

struct Host {
    sender: Sender,
    /// Told when it is there no more, unless its connection became a WebSocket's.
    left: Rc<Notify>,
    becomes_websocket: Rc<Cell<bool>>,
}

enum Sender {
    Old(RefCell<to_host::http1::SendRequest<Incoming>>),
    New(to_host::http2::SendRequest<Incoming>),
}

async fn meet(
    host: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authority: &Authority,
    name: &str,
    protocols: &[&[u8]],
    tasks: &LocalTasks,
) -> Met {
    let config = authority.client(protocols).ok_or("TLS cannot be spoken")?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let secure = TlsConnector::from(config).connect(server, host).await;
    let secure = secure.map_err(|error| error.to_string())?;
    let is_new = secure.get_ref().1.alpn_protocol() == Some(HTTP_2);
    let io = TokioIo::new(secure);
    let starter = tasks.starter();
    let failed = |error: hyper::Error| error.to_string();
    let (left, becomes_websocket) = (Rc::new(Notify::new()), Rc::new(Cell::new(false)));
    let leaving = (left.clone(), becomes_websocket.clone());
    let leave = move || {
        if !leaving.1.get() {
            leaving.0.notify_one();
        }
    };
    let sender = if is_new {
        let mut builder = to_host::http2::Builder::new(starter.clone());
        builder
            .initial_stream_window_size(HOST_WINDOWS.0)
            .initial_connection_window_size(HOST_WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32);
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        starter.execute(async move {
            let _ = connection.await; // who asks hears of it
            leave();
        });
        Sender::New(sender)
    } else {
        let mut builder = to_host::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        starter.execute(async move {
            let _ = connection.with_upgrades().await; // likewise
            leave();
        });
        Sender::Old(RefCell::new(sender))
    };
    Ok(Host {
        sender,
        left,
        becomes_websocket,
    })
}

/// Serves the client until either end has no more.
async fn converse(
    client: TokioIo<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    is_new: bool,
    ends: Rc<(Ends, Met)>,
    starter: Starter,
) {
    let over = ends.clone();
    let host_left = pin!(async {
        match &over.1 {
            Ok(host) => host.left.notified().await,
            Err(_) => pending().await,
        }
    });
    let service = {
        let starter = starter.clone();
        service_fn(move |request| answer(request, ends.clone(), starter.clone()))
    };
    if is_new {
        let mut builder = to_client::http2::Builder::new(starter);
        builder
            .initial_stream_window_size(CLIENT_WINDOWS.0)
            .initial_connection_window_size(CLIENT_WINDOWS.1)
            .max_concurrent_streams(MAX_REQUESTS)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32);
        let connection = pin!(builder.serve_connection(client, service));
        until_over(connection, host_left, |connection| connection.graceful_shutdown()).await;
    } else {
        let mut builder = to_client::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD);
        let connection = pin!(builder.serve_connection(client, service).with_upgrades());
        until_over(connection, host_left, |connection| connection.graceful_shutdown()).await;
    }
}

/// Drives a connection to its end, and has it leave once the host does.
async fn until_over<C: Future>(
    mut connection: Pin<&mut C>,
    mut host_left: Pin<&mut impl Future>,
    leave: impl Fn(Pin<&mut C>),
) {
    let mut is_leaving = false;
    poll_fn(|context| {
        if !is_leaving && host_left.as_mut().poll(context).is_ready() {
            is_leaving = true;
            leave(connection.as_mut());
        }
        connection.as_mut().poll(context).map(|_| ())
    })
    .await;
}

async fn answer(request: Request<Incoming>, ends: Rc<(Ends, Met)>, starter: Starter) -> Result<Answer, Failure> {
    let (Ends { context, sandbox, host }, met) = &*ends;
    let name = host.as_str();
    let upstream = match met {
        Ok(upstream) => upstream,
        Err(why) => {
            return Ok(refuse(
                StatusCode::BAD_GATEWAY,
                &format!("{name} cannot be reached: {why}."),
            ))
        }
    };
    let (mut parts, body) = request.into_parts();
    // As they are now: a change holds for the next request.
    let secrets = context.policies.headers(*sandbox, name);
    let is_websocket = match rewrite(&mut parts, name, &secrets) {
        Ok(is_websocket) => is_websocket,
        Err(Refusal(status, why)) => return Ok(refuse(status, &format!("The request was not passed on: {why}."))),
    };
    let mut request = Request::from_parts(parts, body);
    let client = is_websocket.then(|| hyper::upgrade::on(&mut request));
    upstream.becomes_websocket.set(is_websocket);
    let sent = match &upstream.sender {
        Sender::Old(sender) => {
            if poll_fn(|context| sender.borrow_mut().poll_ready(context))
                .await
                .is_err()
            {
                return Err("the host has left".into()); // as if it had been asked directly
            }
            *request.version_mut() = Version::HTTP_11;
            let sending = sender.borrow_mut().send_request(request);
            sending.await
        }
        Sender::New(sender) => sender.clone().send_request(request).await,
    };
    let mut response = sent?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match (switches, client) {
        (false, _) => {}
        (true, None) => return Err("the host speaks what it was not asked for".into()),
        (true, Some(client)) => {
            let host = hyper::upgrade::on(&mut response);
            starter.execute(async move {
                let (Ok(client), Ok(host)) = (client.await, host.await) else {
                    return;
                };
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(host)).await;
            });
        }
    }
    if strip(response.headers_mut()).is_err() {
        return Ok(refuse(
            StatusCode::BAD_GATEWAY,
            &format!("{name} answers what cannot be passed on."),
        ));
    }
    response.headers_mut().remove(ALT_SVC); // there is no other way to it
    if switches {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    if matches!(upstream.sender, Sender::Old(_)) {
        *response.version_mut() = Version::HTTP_11;
    }
    Ok(response.map(Either::Left))
}

/// An answer of the proxy's own.
fn refuse(status: StatusCode, words: &str) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(format!("{words}\n"))));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
