//! Requests of plain HTTP: one on each connection, to the host that its Host header names, if the sandbox may reach that. What follows the request is read no
//! more, so nobody can ask another host of the same server over the same connection.

use std::future::pending;
use std::io;
use std::net::Ipv4Addr;

use skerry_host_process::waiting::race;
use tokio::io::{copy_buf, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::tcp::ReadHalf;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::audit::{By, Outcome};
use crate::context::Context;
use crate::counted::Counted;
use crate::hosts::{connect, pass, read_more, Talk};
use crate::request::{request, Body, Request};

const PORT: u16 = 80;
/// Of the line before a chunk, and of each one of a trailer.
const MAX_LINE: u64 = 1024;
const MAX_TRAILERS: usize = 64;

pub async fn serve(mut client: TcpStream, sandbox: Ipv4Addr, context: &Context) -> io::Result<()> {
    let mut said = Vec::new();
    let reading = read_head(&mut client, &mut said);
    let request = match timeout(context.settings.greeting, reading).await?? {
        Ok(request) => request,
        Err(why) => {
            context.policies.note(sandbox, By::Http, "", Outcome::Unclear);
            return refuse(
                client,
                "400 Bad Request",
                &format!("The request was not passed on: {why}."),
            )
            .await;
        }
    };
    let name = request.host.as_str();
    if !context.policies.allow(sandbox, name) {
        context.policies.note(sandbox, By::Http, name, Outcome::NotAllowed);
        let words = format!("{name} is none of the domains that this sandbox may reach.");
        return refuse(client, "403 Forbidden", &words).await;
    }
    let Ok((mut host, address)) = connect(context, name, PORT, |_| true).await else {
        context.policies.note(sandbox, By::Http, name, Outcome::Unreachable);
        return refuse(client, "502 Bad Gateway", &format!("{name} cannot be reached.")).await;
    };
    let talked = Talk::begin(context, sandbox, By::Http, name, address);
    let talk = async {
        let (from_client, to_client) = client.split();
        let (from_host, to_host) = host.split();
        let to_client = Counted::new(to_client, talked.received.clone());
        let mut to_host = Counted::new(to_host, talked.sent.clone());
        said.drain(..request.length);
        let asking = async {
            match send(&request, &said, from_client, &mut to_host).await {
                Err(error) if !is_closed(&error) => {}
                _ => pending().await, // the answer's end is the connection's
            }
        };
        race(asking, pass(from_host, to_client)).await;
    };
    let policies = &context.policies;
    race(talk, policies.until(|| !policies.allow(sandbox, name))).await;
    Ok(())
}

/// A request that breaks off so ends nothing by itself: the host has answered already and closes.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

async fn read_head(client: &mut TcpStream, said: &mut Vec<u8>) -> io::Result<Result<Request, &'static str>> {
    loop {
        match request(said) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(why) => return Ok(Err(why)),
            Ok(None) => read_more(client, said).await?,
        }
    }
}

/// Sends the request and its body, and nothing else. @param said what came behind the head already
async fn send(
    request: &Request,
    said: &[u8],
    from: ReadHalf<'_>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    to.write_all(&request.head).await?;
    let mut body = BufReader::new(said.chain(from));
    match request.body {
        Body::Length(length) => copy_exactly(&mut body, length, to).await,
        Body::Chunked => copy_chunks(&mut body, to).await,
    }
}

async fn copy_exactly(
    from: &mut (impl AsyncBufReadExt + Unpin),
    length: u64,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    match copy_buf(&mut from.take(length), to).await? {
        copied if copied == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Chunks with their sizes written anew, without extensions and trailers.
async fn copy_chunks(from: &mut (impl AsyncBufReadExt + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let line = read_line(from).await?;
        let size = line
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_end_matches([' ', '\t'].as_slice());
        let is_number = (1..=15).contains(&size.len()) && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16)
            .ok()
            .filter(|_| is_number)
            .ok_or_else(broken)?;
        if size == 0 {
            break;
        }
        to.write_all(format!("{size:x}\r\n").as_bytes()).await?;
        copy_exactly(from, size, to).await?;
        if !read_line(from).await?.is_empty() {
            return Err(broken());
        }
        to.write_all(b"\r\n").await?;
    }
    for _ in 0..MAX_TRAILERS {
        if read_line(from).await?.is_empty() {
            return to.write_all(b"0\r\n\r\n").await;
        }
    }
    Err(broken())
}

/// Up to CR LF, without it.
async fn read_line(from: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    let line = line.strip_suffix(b"\r\n").ok_or_else(broken)?;
    String::from_utf8(line.to_vec()).map_err(|_| broken())
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// An answer of the proxy's own.
async fn refuse(mut client: TcpStream, status: &str, words: &str) -> io::Result<()> {
    let length = words.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{words}\n"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}
