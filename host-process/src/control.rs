//! The socket by which a program is found, told and replaced. Whoever connects is told at once who it is, `PROGRAM IDENTITY PID` in a line; the connection
//! ends with the process, so it also tells of its end. A successor then sends `h` and is handed the sockets that sandboxes reach, and `l` when it listens
//! itself: the older one takes nothing new any more, and ends. A program that takes orders is sent a capital letter for each, four bytes of a length (the
//! highest first) and as many bytes, and answers in the same way, without a letter.

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::io::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::sync::Notify;
use tokio::task::{yield_now, JoinSet};

use crate::sockets::Sockets;
use crate::waiting::{pause, race};

const HAND_OVER: u8 = b'h';
const LEAVE: u8 = b'l';
/// How long another process may take with an answer.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_GREETING: usize = 512;
/// Of an order.
const MAX_ORDER: usize = 1 << 20;

/// Takes an order by its letter, and answers. None for one that it does not know, which ends the connection.
pub type Orders = Rc<dyn Fn(u8, &[u8]) -> Option<Vec<u8>>>;

/// Listens there in place of whoever did: there is somebody at every moment.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let fresh = path.with_extension("fresh");
    let _ = fs::remove_file(&fresh); // of one that was killed here
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The process that runs already.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// None when there is none, or it does not answer.
    pub fn meet(path: &Path, program: &str) -> Option<Predecessor> {
        let mut stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut greeting = Vec::new();
        let mut byte = [0];
        while greeting.last() != Some(&b'\n') {
            if greeting.len() >= MAX_GREETING || stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            greeting.push(byte[0]);
        }
        greeting.starts_with(program.as_bytes()).then_some(Predecessor(stream))
    }

    /// Its sockets, which it goes on reading until it is dismissed. None when it has none for these addresses.
    pub fn take_over(&self, udp: SocketAddr, tcp: &[SocketAddr]) -> Option<Sockets> {
        (&self.0).write_all(&[HAND_OVER]).ok()?;
        Sockets::receive(self.0.as_raw_fd(), udp, tcp).ok()
    }

    pub fn dismiss(self) {
        let _ = (&self.0).write_all(&[LEAVE]); // it may have died meanwhile
    }
}

/// Attends to whoever connects, until one of them dismisses this process.
pub async fn serve(
    listener: tokio::net::UnixListener,
    program: &str,
    identity: &str,
    sockets: Sockets,
    orders: Option<Orders>,
) {
    let greeting: Rc<str> = format!("{program} {identity} {}\n", std::process::id()).into();
    let sockets = Rc::new(sockets);
    let dismissed = Rc::new(Notify::new());
    let attend_all = async {
        let mut visitors = JoinSet::new(); // dropped with this future, which ends the connections
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (sockets, dismissed, orders) = (sockets.clone(), dismissed.clone(), orders.clone());
                    visitors.spawn_local(attend(stream, greeting.clone(), sockets, dismissed, orders));
                }
                Err(_) => pause().await,
            }
            while visitors.try_join_next().is_some() {}
        }
    };
    race(attend_all, dismissed.notified()).await;
}

async fn attend(
    mut stream: tokio::net::UnixStream,
    greeting: Rc<str>,
    sockets: Rc<Sockets>,
    dismissed: Rc<Notify>,
    orders: Option<Orders>,
) -> io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    loop {
        match (stream.read_u8().await?, &orders) {
            (HAND_OVER, _) => {
                stream.writable().await?;
                stream.try_io(Interest::WRITABLE, || sockets.send(stream.as_raw_fd()))?;
            }
            (LEAVE, _) => dismissed.notify_one(),
            (letter, Some(orders)) if letter.is_ascii_uppercase() => {
                let length = stream.read_u32().await? as usize;
                if length > MAX_ORDER {
                    return Ok(());
                }
                let mut order = vec![0; length];
                stream.read_exact(&mut order).await?;
                let Some(answer) = orders(letter, &order) else {
                    return Ok(());
                };
                yield_now().await; // what the order woke has its turn: what it ends has ended before the answer
                stream.write_u32(answer.len() as u32).await?;
                stream.write_all(&answer).await?;
            }
            _ => return Ok(()),
        }
    }
}
