//! The signals this program lives by, taken one at a time instead of by handlers.

use std::io;
use std::mem;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Blocked for this process, and read from a descriptor instead.
pub struct Signals(OwnedFd);

impl Signals {
    pub fn block() -> io::Result<Signals> {
        // SAFETY: the set is initialised by sigemptyset before anything reads it, and the descriptor is new and owned by nobody else.
        unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(&mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                descriptor => Ok(Signals(OwnedFd::from_raw_fd(descriptor))),
            }
        }
    }

    /// One that came, if any did.
    pub fn next(&self) -> Option<libc::c_int> {
        let size = mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the structure is plain numbers, and the read is bounded by its size.
        let (read, info) = unsafe {
            let mut info: libc::signalfd_siginfo = mem::zeroed();
            (libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size), info)
        };
        (read == size as isize).then_some(info.ssi_signo as libc::c_int)
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
