//! Ports that the server opened while it ran (those of tunnels), kept for the next one.
//!
//! The server says on its standard input, a socket, what is to be kept; this program takes a copy of the listening socket out of the server's own
//! descriptors (`pidfd_getfd(2)`). So a port stays bound when the server is killed at any moment: nobody else can take it, and who connects waits in its
//! queue. The next server inherits all of them.
//!
//! ```text
//! server: keep PORT DESCRIPTOR     answered by    kept PORT    or    lost PORT WHY
//! server: drop PORT                not answered
//! ```

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Child;

/// The numbers of all must find room in one variable of the environment.
const MOST: usize = 16_000;
/// Descriptors that are left to start a server with.
const SPARE: usize = 32;
/// Longer than any word of the server's.
const LONGEST_WORD: usize = 64;

/// The sockets that the next server gets, the main one first.
pub struct Sockets {
    main: TcpListener,
    kept: Vec<(u16, TcpListener)>,
    most: usize,
}

impl Sockets {
    /// As many are kept as this process may have open, but for a few.
    pub fn new(main: TcpListener) -> Sockets {
        let most = MOST.min(allowed_descriptors().saturating_sub(SPARE));
        Sockets {
            main,
            kept: Vec::new(),
            most,
        }
    }

    /// `LISTEN_FDNAMES` of `sd_listen_fds(3)`: the number of each port that is kept, in the order of `descriptors`.
    pub fn names(&self) -> String {
        self.kept
            .iter()
            .fold(String::from("main"), |names, (port, _)| format!("{names}:{port}"))
    }

    /// In ascending order, and as low as they can be: who starts a program can have it find them at the number of the first and on, one after the other,
    /// without overwriting one that is still needed.
    pub fn descriptors(&mut self) -> Vec<RawFd> {
        self.kept.sort_by_key(|(_, listener)| listener.as_raw_fd());
        for (_, listener) in &mut self.kept {
            match listener.try_clone() {
                Ok(lowest) if lowest.as_raw_fd() < listener.as_raw_fd() => *listener = lowest,
                _ => {}
            }
        }
        let all = std::iter::once(&self.main).chain(self.kept.iter().map(|(_, listener)| listener));
        all.map(AsRawFd::as_raw_fd).collect()
    }

    fn keep(&mut self, port: u16, socket: OwnedFd) -> io::Result<()> {
        let listener = TcpListener::from(socket);
        if listener.local_addr()?.port() != port {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        self.drop(port);
        if self.kept.len() >= self.most {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.kept.push((port, listener));
        Ok(())
    }

    fn drop(&mut self, port: u16) {
        self.kept.retain(|&(kept, _)| kept != port);
    }
}

/// This program's end of what one server says.
pub struct Channel {
    /// None once nothing sensible comes any more.
    stream: Option<UnixStream>,
    /// The beginning of a word whose end has not come yet.
    begun: Vec<u8>,
}

impl Channel {
    /// @returns this end, and the server's
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let channel = Channel {
            stream: Some(ours),
            begun: Vec::new(),
        };
        Ok((channel, theirs.into()))
    }

    /// What to wait on; negative, which poll(2) passes over, when nothing comes any more.
    pub fn descriptor(&self) -> RawFd {
        self.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Does what the server has said until now.
    pub fn serve(&mut self, server: &Child, sockets: &mut Sockets) {
        let Some(stream) = &mut self.stream else { return };
        let mut piece = [0; 4096];
        let understood = match stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.begun.extend_from_slice(&piece[..count]);
                answer_all(&mut self.begun, stream, server, sockets)
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        };
        if !understood {
            self.stream = None;
        }
    }
}

/// False when what was said is nothing sensible, or the answer is not taken.
fn answer_all(begun: &mut Vec<u8>, stream: &mut UnixStream, server: &Child, sockets: &mut Sockets) -> bool {
    while let Some(end) = begun.iter().position(|&byte| byte == b'\n') {
        let line: Vec<u8> = begun.drain(..=end).collect();
        let words: Vec<&str> = std::str::from_utf8(&line)
            .unwrap_or("")
            .split_ascii_whitespace()
            .collect();
        let numbers: Option<Vec<i32>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
        let (verb, port, descriptor) = match (words.first(), numbers.as_deref()) {
            (Some(&verb), Some(&[port])) => (verb, port, None),
            (Some(&verb), Some(&[port, descriptor])) => (verb, port, Some(descriptor)),
            _ => return false,
        };
        let Ok(port) = u16::try_from(port) else { return false };
        match (verb, descriptor) {
            ("drop", None) => sockets.drop(port),
            ("keep", Some(descriptor)) => {
                let answer = match copy_of(server, descriptor).and_then(|socket| sockets.keep(port, socket)) {
                    Ok(()) => format!("kept {port}\n"),
                    Err(error) => format!("lost {port} {error}\n"),
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    begun.len() <= LONGEST_WORD
}

/// Allows this process as many open descriptors as it may allow itself. @returns how many it may have now
fn allowed_descriptors() -> usize {
    // SAFETY: the structure is plain numbers.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 0;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        let now = if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 {
            limit.rlim_max
        } else {
            before
        };
        usize::try_from(now).unwrap_or(usize::MAX)
    }
}

/// A copy of a descriptor of the server's.
fn copy_of(server: &Child, descriptor: RawFd) -> io::Result<OwnedFd> {
    let owned = |result: libc::c_long| match RawFd::try_from(result) {
        // SAFETY: both calls return a new descriptor that nobody else owns.
        Ok(new) if new >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: plain numbers. The server was not waited for, so its id is still its own.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, server.id(), 0) })?;
    // SAFETY: as above; the copy is closed on exec.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })
}
