//! Addresses of names. What was answered is kept for a while: a sandbox is told the same addresses as are connected to for it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{timeout, Instant};

use crate::dns::{ask, read_answer, Answer, Code};
use crate::settings::Settings;

/// Kept no shorter than it takes to connect after a question, and no longer than a minute, whatever a server says.
const KEPT_S: (u32, u32) = (5, 60);
const MAX_KEPT: usize = 4096;
const MAX_MESSAGE: usize = 4096;

pub struct Resolver {
    server: SocketAddr,
    patience: Duration,
    kept: RefCell<HashMap<String, (Instant, Rc<Answer>)>>,
    id: Cell<u16>,
}

impl Resolver {
    pub fn new(settings: &Settings) -> Resolver {
        Resolver {
            server: settings.resolver,
            patience: settings.answer,
            kept: RefCell::default(),
            id: Cell::new(std::process::id() as u16),
        }
    }

    /// @param name as `names::host_name` gives it. @errors when nobody answers
    pub async fn resolve(&self, name: &str) -> io::Result<Rc<Answer>> {
        let now = Instant::now();
        if let Some((until, answer)) = self.kept.borrow().get(name) {
            if *until > now {
                return Ok(answer.clone());
            }
        }
        let mut answer = timeout(self.patience, self.ask(name)).await??;
        answer.addresses.retain(is_another_machine);
        answer.ttl = match answer.addresses.is_empty() {
            true => KEPT_S.0, // it may come to have some
            false => answer.ttl.clamp(KEPT_S.0, KEPT_S.1),
        };
        let answer = Rc::new(answer);
        if answer.code != Code::Failure {
            let mut kept = self.kept.borrow_mut();
            if kept.len() >= MAX_KEPT {
                kept.retain(|_, (until, _)| *until > now);
            }
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            let until = now + Duration::from_secs(u64::from(answer.ttl));
            kept.insert(name.to_owned(), (until, answer.clone()));
        }
        Ok(answer)
    }

    /// The machine's resolver is asked, which sandboxes cannot speak for: the kernel takes answers from nobody else.
    async fn ask(&self, name: &str) -> io::Result<Answer> {
        let id = self.id.get().wrapping_add(1);
        self.id.set(id);
        let question = ask(id, name);
        let own: IpAddr = match self.server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(self.server).await?;
        socket.send(&question).await?;
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(answer) = read_answer(&question, &buffer[..length]) {
                return Ok(answer);
            }
        }
    }
}

/// Addresses of this process's own network are no hosts. What else is closed to sandboxes the firewall closes to this program as well.
fn is_another_machine(address: &Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || address.is_broadcast())
}
