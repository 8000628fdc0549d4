//! Connections of the agent wait, or are made when they are needed; each of the server's gets one of them. Both sides may be anybody, so everything is bounded.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{spawn_local, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// The agent keeps two.
const MAX_SPARES: usize = 16;
/// Each running process and each stream to a port has one.
const MAX_CONNECTIONS: usize = 4096;
const MAX_HANDSHAKES: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Before it is tried again to accept, when there are no descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What the program at the other end of the socket does.
pub enum End {
    Dials,
    Listens,
}

/// Where connections to that program come from.
enum Source {
    Spares(Spares),
    Socket(PathBuf),
}

impl Source {
    async fn take(&self) -> io::Result<UnixStream> {
        match self {
            Source::Spares(spares) => Ok(spares.take().await),
            Source::Socket(path) => UnixStream::connect(path).await,
        }
    }
}

#[derive(Default)]
struct Spares {
    waiting: RefCell<VecDeque<UnixStream>>,
    came: Notify,
}

impl Spares {
    fn add(&self, stream: UnixStream) {
        let mut waiting = self.waiting.borrow_mut();
        // The oldest may be of an agent that dropped it.
        if waiting.len() == MAX_SPARES {
            waiting.pop_front();
        }
        waiting.push_back(stream);
        self.came.notify_one();
    }

    async fn take(&self) -> UnixStream {
        loop {
            let spare = self.waiting.borrow_mut().pop_front();
            if let Some(spare) = spare {
                return spare;
            }
            self.came.notified().await;
        }
    }
}

pub fn serve(socket: &Path, end: End, address: SocketAddr, tls: ServerConfig) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let server = match TcpListener::bind(address).await {
            // A node without IPv6.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?
            }
            outcome => outcome?,
        };
        let source = Rc::new(match end {
            End::Dials => Source::Spares(Spares::default()),
            End::Listens => Source::Socket(socket.to_path_buf()),
        });
        if let Source::Spares(_) = *source {
            spawn_local(keep(listen(socket)?, source.clone()));
        }
        println!("{}", server.local_addr()?.port());
        accept(server, TlsAcceptor::from(Arc::new(tls)), source).await
    })
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn keep(agent: UnixListener, source: Rc<Source>) {
    let Source::Spares(spares) = &*source else { return };
    loop {
        match agent.accept().await {
            Ok((stream, _)) => spares.add(stream),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn accept(server: TcpListener, tls: TlsAcceptor, source: Rc<Source>) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Rc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let stream = match server.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        // Dropped at once when there are too many.
        let Ok(connection) = connections.clone().try_acquire_owned() else {
            continue;
        };
        let (tls, source, handshakes) = (tls.clone(), source.clone(), handshakes.clone());
        spawn_local(async move {
            let _connection = connection;
            let _ = carry(stream, tls, &source, &handshakes).await;
        });
    }
}

/// A connection that ends on one side ends on the other.
async fn carry(stream: TcpStream, tls: TlsAcceptor, source: &Source, handshakes: &Semaphore) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut server = {
        let _turn = handshakes.acquire().await;
        timeout(HANDSHAKE, tls.accept(stream)).await??
    };
    let mut agent = source.take().await?;
    copy_bidirectional(&mut server, &mut agent).await?;
    Ok(())
}
