//! Connections to hosts that a sandbox may reach, and what passes over them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::io::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tokio::io::{copy, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::audit::{By, Outcome};
use crate::context::Context;

/// Addresses of one host that are tried.
const MAX_TRIED: usize = 4;
const CHUNK: usize = 4096;
/// After so long a silence the other end is asked whether it is there: who is not gives its place back.
const SILENCE_S: libc::c_int = 60;

/// A connection to one of the host's own addresses: whatever address the sandbox had for it, it cannot be led elsewhere.
/// @param name one that the sandbox may reach. @param may whether it may at this address
/// @errors `PermissionDenied` where it may at none
pub async fn connect(
    context: &Context,
    name: &str,
    port: u16,
    may: impl Fn(Ipv4Addr) -> bool,
) -> io::Result<(TcpStream, Ipv4Addr)> {
    let found = context.resolver.resolve(name).await?;
    let allowed: Vec<Ipv4Addr> = found
        .addresses
        .iter()
        .copied()
        .filter(|&address| may(address))
        .collect();
    let mut failure = io::Error::from(match allowed.is_empty() && !found.addresses.is_empty() {
        true => io::ErrorKind::PermissionDenied,
        false => io::ErrorKind::NotFound,
    });
    for address in allowed.into_iter().take(MAX_TRIED) {
        match open(context, address, port).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn open(context: &Context, address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(SocketAddr::from((address, port)));
    let stream = timeout(context.settings.connect, connecting).await??;
    stream.set_nodelay(true)?;
    notice_death(&stream)?;
    Ok(stream)
}

/// A connection of a sandbox's as its audit has it: its beginning, and its end, however that comes.
pub struct Talk<'a> {
    context: &'a Context,
    sandbox: Ipv4Addr,
    by: By,
    name: &'a str,
    address: Ipv4Addr,
    /// Bytes.
    pub sent: Arc<AtomicU64>,
    pub received: Arc<AtomicU64>,
}

impl<'a> Talk<'a> {
    pub fn begin(context: &'a Context, sandbox: Ipv4Addr, by: By, name: &'a str, address: Ipv4Addr) -> Talk<'a> {
        context.policies.note(sandbox, by, name, Outcome::Open(address));
        Talk {
            context,
            sandbox,
            by,
            name,
            address,
            sent: Arc::default(),
            received: Arc::default(),
        }
    }
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        let [sent, received] = [&self.sent, &self.received].map(|count| count.load(Ordering::Relaxed));
        let over = Outcome::Over(self.address, sent, received);
        self.context.policies.note(self.sandbox, self.by, self.name, over);
    }
}

/// Has the kernel find out when the other end is gone without a word.
pub fn notice_death(stream: &TcpStream) -> io::Result<()> {
    let set = |level: libc::c_int, option: libc::c_int, value: libc::c_int| {
        // SAFETY: the descriptor is the stream's, and the value outlives the call.
        let result = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                level,
                option,
                (&value as *const libc::c_int).cast(),
                std::mem::size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, SILENCE_S)
}

/// Waits for more of what is said. @errors at the end
pub async fn read_more(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    match from.read(&mut chunk).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            into.extend(&chunk[..length]);
            Ok(())
        }
    }
}

/// Passes on what comes until its end, which is passed on as well.
pub async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}
