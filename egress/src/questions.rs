//! Questions of sandboxes for addresses, over UDP and TCP. A name that the sandbox may not reach is answered as one that does not exist, and is asked of
//! nobody, so nothing gets out in names. Records other than IPv4 addresses are answered as absent: IPv6, which sandboxes do not have, and the
//! configurations of encrypted client hellos.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use skerry_host_process::dns::HEADER;
use skerry_host_process::shares::Shares;
use skerry_host_process::waiting::pause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::audit::{By, Outcome};
use crate::context::Context;
use crate::dns::{Code, Question};
use crate::names::host_name;

const MAX_QUESTION: usize = 4096;
/// How long one connection may go on.
const CONNECTION: Duration = Duration::from_secs(30);

pub async fn serve_udp(socket: UdpSocket, context: Rc<Context>) {
    let socket = Rc::new(socket);
    let shares = Shares::new(context.settings.questions, None);
    let mut buffer = [0; MAX_QUESTION + 1]; // a question that fills it is too long
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            pause().await;
            continue;
        };
        let (IpAddr::V4(sandbox), HEADER..=MAX_QUESTION) = (client.ip(), length) else {
            continue;
        };
        let Some(question) = Question::parse(&buffer[..length]) else {
            continue;
        };
        let (socket, context) = (socket.clone(), context.clone());
        shares.run(client.ip(), async move {
            let answer = answer(&context, sandbox, &question).await;
            let _ = socket.send_to(&answer, client).await; // a client that left hears nothing
        });
    }
}

pub async fn serve_tcp(listener: TcpListener, context: Rc<Context>) {
    let shares = Shares::new(context.settings.questions, None);
    loop {
        let Ok((client, address)) = listener.accept().await else {
            pause().await;
            continue;
        };
        let context = context.clone();
        if let IpAddr::V4(sandbox) = address.ip() {
            shares.run(address.ip(), async move {
                timeout(CONNECTION, converse(client, sandbox, &context)).await
            });
        }
    }
}

/// One question after the other, each with its length before it.
async fn converse(mut client: TcpStream, sandbox: Ipv4Addr, context: &Context) -> io::Result<()> {
    loop {
        let length = usize::from(client.read_u16().await?);
        if length > MAX_QUESTION {
            return Ok(());
        }
        let mut message = vec![0; length];
        client.read_exact(&mut message).await?;
        let Some(question) = Question::parse(&message) else {
            return Ok(());
        };
        let answer = answer(context, sandbox, &question).await;
        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
        framed.extend(answer);
        client.write_all(&framed).await?;
    }
}

async fn answer(context: &Context, sandbox: Ipv4Addr, question: &Question) -> Vec<u8> {
    let Some(name) = host_name(&question.name) else {
        context.policies.note(sandbox, By::Question, "", Outcome::Unclear);
        return question.answer(Code::NoSuchName, &[], 0);
    };
    if !context.policies.knows(sandbox, &name) {
        context.policies.note(sandbox, By::Question, &name, Outcome::NotAllowed);
        return question.answer(Code::NoSuchName, &[], 0);
    }
    if !question.is_for_addresses {
        return question.answer(Code::Fine, &[], 0);
    }
    match context.resolver.resolve(&name).await {
        Ok(found) if leads_through(context, sandbox, &name, &found.addresses) => {
            question.answer(found.code, &[context.settings.listen], found.ttl)
        }
        Ok(found) => question.answer(found.code, &found.addresses, found.ttl),
        Err(_) => question.answer(Code::Failure, &[], 0),
    }
}

fn leads_through(context: &Context, sandbox: Ipv4Addr, name: &str, addresses: &[Ipv4Addr]) -> bool {
    context.settings.is_gateway && !addresses.is_empty() && context.policies.leads_through(sandbox, name, addresses)
}
