//! Dials the server's socket and decides when to try again: the server may be away for a while, and that must cost nothing.

use crate::sys::{self, check};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_millis(500);

pub struct Dialer {
    address: libc::sockaddr_un,
    delay: Duration,
    /// A timer for the next attempt is set.
    pub waiting: bool,
}

impl Dialer {
    pub fn new(path: &Path) -> io::Result<Dialer> {
        // SAFETY: all zeros is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() >= address.sun_path.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket's path is too long",
            ));
        }
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        Ok(Dialer {
            address,
            delay: FIRST_DELAY,
            waiting: false,
        })
    }

    /// One attempt. A unix socket connects at once or not at all.
    pub fn dial(&self) -> io::Result<OwnedFd> {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the new descriptor is ours alone; the address and its size belong together.
        unsafe {
            let socket = sys::owned(check(libc::socket(libc::AF_UNIX, kind, 0))?);
            let address = &self.address as *const libc::sockaddr_un as *const libc::sockaddr;
            let size = std::mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
            check(libc::connect(socket.as_raw_fd(), address, size))?;
            Ok(socket)
        }
    }

    /// How long to wait after another failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(LAST_DELAY);
        delay
    }

    /// The server took a connection and used it: it is well.
    pub fn reset(&mut self) {
        self.delay = FIRST_DELAY;
    }
}
