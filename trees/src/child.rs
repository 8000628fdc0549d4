//! A process of this program's own, for what only another process can be: one of a user namespace, from which there is no way back.

use crate::failure::Failure;
use crate::sys::{check, pipe};
use std::fs::File;
use std::io::{self, Read, Write};

/// Has a child do `first` and stay; then does `then` with its number. The child is gone afterwards. There must be one thread.
pub fn beside<T>(
    first: impl FnOnce() -> io::Result<()>,
    then: impl FnOnce(libc::pid_t) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (ready, told) = pipe(libc::O_CLOEXEC).map_err(Failure::at("pipe"))?;
    // SAFETY: there is one thread, so the child may go on with ordinary code.
    match check(unsafe { libc::fork() }).map_err(Failure::at("fork"))? {
        0 => {
            let mut told = File::from(told); // open until its words are out: its parent ends it then
            if let Err(error) = first().and_then(|()| stay(&mut told)) {
                eprintln!("{error}");
            }
            // SAFETY: ends this process.
            unsafe { libc::_exit(1) }
        }
        child => {
            drop(told);
            let result = File::from(ready)
                .read_exact(&mut [0])
                .map_err(Failure::at("child"))
                .and_then(|()| then(child));
            // SAFETY: it is this program's own child, which nobody else waits for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
            result
        }
    }
}

/// Says that it is ready, and waits for the end that its parent gives it, or has.
fn stay(told: &mut File) -> io::Result<()> {
    // SAFETY: no memory is involved. The parent that is gone already does not read what is written next.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    told.write_all(b"x")?;
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// Does `work` in a child and waits for it. Of an error its number comes over.
pub fn by_another(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: there is one thread, so the child may go on with ordinary code.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        let code = match work() {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        // SAFETY: ends this process. The kernel's numbers of errors that calls give are below 134.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: the number outlives the call.
    check(unsafe { libc::waitpid(child, &mut status, 0) })?;
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, code) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::from_raw_os_error(libc::EINTR)),
    }
}
