//! TLS connections: let through, as they are, to the host whose name the client's hello says, if the sandbox may reach that; or read, where it has secret headers
//! for that host.

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use skerry_host_process::waiting::race;
use tokio::io::{copy_bidirectional, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::audit::{By, Outcome};
use crate::context::Context;
use crate::counted::Counted;
use crate::hello::{asks_for_another, client_hello, second_hello, Hello, Refusal, MAX_HELLO};
use crate::hosts::{connect, read_more, Talk};
use crate::intercept::{self, Ends};

const PORT: u16 = 443;
/// A fatal alert (RFC 8446, 6), with the description as its last byte.
const ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];
const ACCESS_DENIED: u8 = 49;
const UNRECOGNIZED_NAME: u8 = 112;
const UNSUPPORTED_EXTENSION: u8 = 110;
const INTERNAL_ERROR: u8 = 80;

type Finder = fn(&[u8]) -> Result<Option<Hello>, Refusal>;

pub async fn serve(mut client: TcpStream, sandbox: Ipv4Addr, context: &Rc<Context>) -> io::Result<()> {
    let patience = context.settings.greeting;
    let note = |name: &str, outcome| context.policies.note(sandbox, By::Tls, name, outcome);
    let mut said = Vec::new();
    let hello = match timeout(patience, read_hello(&mut client, &mut said, client_hello)).await?? {
        Ok(hello) => hello,
        Err(refusal) => {
            note("", Outcome::Unclear);
            return refuse(client, alert_of(&refusal)).await;
        }
    };
    let name = hello.name.as_str();
    if !context.policies.may_reach(sandbox, name) {
        note(name, Outcome::NotAllowed);
        return refuse(client, UNRECOGNIZED_NAME).await;
    }
    let may = |address| context.policies.reaches(sandbox, name, address);
    let (host, address) = match connect(context, name, PORT, may).await {
        Ok(connected) => connected,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            note(name, Outcome::NotAllowed);
            return refuse(client, UNRECOGNIZED_NAME).await;
        }
        Err(_) => {
            note(name, Outcome::Unreachable);
            return refuse(client, INTERNAL_ERROR).await;
        }
    };
    let talked = Talk::begin(context, sandbox, By::Tls, name, address);
    let has_secrets = context.policies.has_headers(sandbox, name);
    let talk = async {
        if has_secrets {
            let (context, host_name) = (context.clone(), name.to_owned());
            let ends = Ends {
                context,
                sandbox,
                host: host_name,
            };
            return intercept::serve(client, said, host, ends, &talked).await;
        }
        let mut client = Counted::new(client, talked.received.clone());
        let mut host = Counted::new(host, talked.sent.clone());
        if let Err(description) = timeout(patience, shake_hands(&mut client, &mut host, said, &hello)).await?? {
            return refuse(client, description).await;
        }
        copy_bidirectional(&mut client, &mut host).await.map(|_| ())
    };
    let policies = &context.policies;
    // One that is read and one that is not are different connections.
    let is_over = || !policies.reaches(sandbox, name, address) || policies.has_headers(sandbox, name) != has_secrets;
    race(talk, policies.until(is_over)).await;
    Ok(())
}

async fn read_hello(
    client: &mut (impl AsyncRead + Unpin),
    said: &mut Vec<u8>,
    find: Finder,
) -> io::Result<Result<Hello, Refusal>> {
    loop {
        match find(said) {
            Ok(Some(hello)) => return Ok(Ok(hello)),
            Err(refusal) => return Ok(Err(refusal)),
            Ok(None) if said.len() > 4 * MAX_HELLO => return Ok(Err(Refusal::NotTls)),
            Ok(None) => read_more(client, said).await?,
        }
    }
}

/// Passes the hello on, and nothing behind it before the server has answered: when that asks for another hello, it must name the same host.
/// @returns the alert to refuse with where it does not
async fn shake_hands(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut said: Vec<u8>,
    hello: &Hello,
) -> io::Result<Result<(), u8>> {
    host.write_all(&said[..hello.length]).await?;
    said.drain(..hello.length);
    let mut answered = Vec::new();
    let again = loop {
        match asks_for_another(&answered) {
            Some(again) => break again,
            None => match read_more(host, &mut answered).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break false,
                Err(error) => return Err(error),
            },
        }
    };
    client.write_all(&answered).await?;
    if again {
        match read_hello(client, &mut said, second_hello).await? {
            Ok(second) if second.name == hello.name => {}
            Ok(_) => return Ok(Err(UNRECOGNIZED_NAME)),
            Err(refusal) => return Ok(Err(alert_of(&refusal))),
        }
    }
    host.write_all(&said).await?;
    Ok(Ok(()))
}

const fn alert_of(refusal: &Refusal) -> u8 {
    match refusal {
        Refusal::NotTls => ACCESS_DENIED,
        Refusal::NoName => UNRECOGNIZED_NAME,
        Refusal::EncryptedHello => UNSUPPORTED_EXTENSION,
    }
}

/// Says why in TLS's words, so that a program can tell it from a fault of the network.
async fn refuse(mut client: impl AsyncWrite + Unpin, description: u8) -> io::Result<()> {
    client.write_all(&ALERT).await?;
    client.write_all(&[description]).await?;
    client.shutdown().await
}
