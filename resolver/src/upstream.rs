//! Asking other servers over UDP.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use skerry_host_process::dns::HEADER;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::settings::Settings;

/// EDNS (RFC 6891) questions are far below this; larger ones are nothing a resolver library sends.
pub const MAX_QUESTION: usize = 4096;
/// The longest message there is (RFC 1035, 4.2.2).
pub const MAX_ANSWER: usize = 65535;

/// Where every answer is read into, one after the other: only what came of one is kept.
pub type Scratch = Rc<RefCell<Box<[u8]>>>;

pub fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; MAX_ANSWER].into_boxed_slice()))
}

/// The first answer of the servers, asked in order; none when none answered.
pub async fn ask(question: &[u8], settings: &Settings, scratch: &Scratch) -> Option<Vec<u8>> {
    for &server in &settings.upstreams {
        if let Ok(Ok(answer)) = timeout(settings.answer, ask_one(question, server, scratch)).await {
            return Some(answer);
        }
    }
    None
}

/// One socket per question: its random source port and the kernel's check of the sender make answers hard to forge.
async fn ask_one(question: &[u8], server: SocketAddr, scratch: &Scratch) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    loop {
        socket.readable().await?;
        let mut buffer = scratch.borrow_mut();
        match socket.try_recv(&mut buffer) {
            Ok(length) if length >= HEADER && buffer[..2] == question[..2] => return Ok(buffer[..length].to_vec()),
            Ok(_) => continue, // not an answer to this
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
    }
}

/// The question with QR and RCODE 2 (SERVFAIL) set: the answer when no server answers.
pub fn server_failure(mut question: Vec<u8>) -> Vec<u8> {
    question[2] |= 0x80;
    question[3] = 0x82;
    question
}
