//! The system calls the standard library has no word for, each wrapped once.

use std::io;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Waits without end until one of the descriptors is ready. Those that are have their `revents` set.
pub fn poll(descriptors: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: the pointer and the length are of one slice.
    match check(unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, -1) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(drop),
    }
}

/// A pipe whose ends no program inherits: what it reads from, and what it is written to.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: there is room for two descriptors, which are open and nobody else's when the call succeeds.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: both calls only look at and change the flags of a descriptor.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// A descriptor that is readable when the process has ended. It must be a child that was not waited for.
pub fn pidfd(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers, and gives a descriptor of our own, which is close-on-exec.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0) as libc::c_int)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Kills a process group. Its leader must be a child that was not waited for: then the number is still its own.
pub fn kill_group(leader: libc::pid_t) {
    // SAFETY: the call takes numbers. A group that has ended is none of its concern.
    unsafe { libc::kill(-leader, libc::SIGKILL) };
}

/// The status of a child that has ended; waits for it otherwise.
pub fn wait(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: the status outlives the call.
        match check(unsafe { libc::waitpid(pid, &mut status, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| status),
        }
    }
}

/// What a process is asked to end with.
const ASKED_TO_END: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

extern "C" fn go_on(_: libc::c_int) {}

/// Goes on from now on when it is asked to end. The signals are neither ignored nor blocked, which a command would inherit: a handler it does not.
pub fn outlive_signals() -> io::Result<()> {
    for signal in ASKED_TO_END {
        // SAFETY: the structure is initialised before it is read; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = go_on as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            check(libc::sigaction(signal, &action, std::ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// What `poll` is asked: whether `events` happened.
pub fn watch(fd: &impl AsRawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}
