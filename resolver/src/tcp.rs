//! Questions over TCP (RFC 7766). A connection is joined to the first server that accepts one; messages pass whole, in both directions.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout, Instant};

use skerry_host_process::dns::HEADER;
use skerry_host_process::shares::Shares;
use skerry_host_process::waiting::{pause, race};

use crate::names::Names;
use crate::settings::Settings;
use crate::upstream::{MAX_ANSWER, MAX_QUESTION};

/// Questions of one connection that were not answered yet. The next one is not read before: the kernel's buffers hold its client back.
const UNANSWERED: usize = 4;
/// Of the length before each message.
const PREFIX: usize = 2;

pub async fn serve(listener: TcpListener, settings: Rc<Settings>, names: Rc<Names>) {
    let shares = Shares::new(settings.connections, settings.relay);
    loop {
        let Ok((client, address)) = listener.accept().await else {
            pause().await;
            continue;
        };
        let (settings, names) = (settings.clone(), names.clone());
        shares.run(address.ip(), async move {
            let noting = Noting(&names, address.ip());
            timeout(settings.connection, join(client, &settings, noting)).await
        });
    }
}

/// Who an answer is for.
#[derive(Clone, Copy)]
struct Noting<'a>(&'a Names, IpAddr);

async fn join(mut client: TcpStream, settings: &Settings, noting: Noting<'_>) {
    let Some(mut server) = connect(settings).await else {
        return;
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let unanswered = Semaphore::new(UNANSWERED);
    let moved = Cell::new(Instant::now());
    let questions = pass_questions(from_client, to_server, &unanswered, &moved);
    let answers = pass_answers(from_server, to_client, &unanswered, &moved, noting);
    let silence = async {
        while moved.get().elapsed() < settings.idle {
            sleep_until(moved.get() + settings.idle).await;
        }
    };
    race(silence, race(questions, answers)).await;
}

async fn connect(settings: &Settings) -> Option<TcpStream> {
    for &server in &settings.upstreams {
        if let Ok(Ok(stream)) = timeout(settings.answer, TcpStream::connect(server)).await {
            return Some(stream);
        }
    }
    None
}

async fn pass_questions(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    unanswered: &Semaphore,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    while let Some(question) = read_message(&mut from, MAX_QUESTION).await? {
        if let Ok(place) = unanswered.acquire().await {
            place.forget(); // the answer gives it back
        }
        to.write_all(&question).await?;
        moved.set(Instant::now());
    }
    to.shutdown().await?;
    pending().await // the answers are still to come; their end is the connection's
}

async fn pass_answers(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    unanswered: &Semaphore,
    moved: &Cell<Instant>,
    Noting(names, client): Noting<'_>,
) -> io::Result<()> {
    while let Some(answer) = read_message(&mut from, MAX_ANSWER).await? {
        names.note(client, &answer[PREFIX..]);
        to.write_all(&answer).await?;
        moved.set(Instant::now());
        // Of a zone transfer many answers come to one question.
        if unanswered.available_permits() < UNANSWERED {
            unanswered.add_permits(1);
        }
    }
    Ok(())
}

/// The next message with its length before it; none at the end. @errors when it is too short or too long to be one
async fn read_message(from: &mut ReadHalf<'_>, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if !(HEADER..=longest).contains(&usize::from(length)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; PREFIX + usize::from(length)];
    message[..PREFIX].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut message[PREFIX..]).await?;
    Ok(Some(message))
}
