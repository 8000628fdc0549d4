//! Becoming a process of its own, with no more rights than it needs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::io::{AsRawFd, FromRawFd};
use std::path::PathBuf;

use crate::Error;

pub enum Side {
    /// What was started, with the status to end with: its child is ready, or has ended.
    Launcher(i32),
    /// The child, which goes on.
    Program(Ready),
}

/// How the child tells that it is ready.
pub struct Ready(File);

/// Splits into the process that waits and the one that goes on, in a session of its own. Call while there is one thread.
pub fn detach() -> Result<Side, Error> {
    let failed = |error| Error::Launch("cannot start a process", error);
    // What a starter forgot to close would be held open for as long as this runs. Kernels before 5.9 cannot: then it is.
    // SAFETY: nothing in this process owns a descriptor above the standard ones yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }).map_err(failed)?;
    // SAFETY: pipe2 has just opened both, and nobody else owns them.
    let (mut reader, writer) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: there is one thread, so the child may do whatever this process may.
    match check(unsafe { libc::fork() }).map_err(failed)? {
        0 => {
            // SAFETY: no memory is involved. It cannot fail in a process that was just forked.
            unsafe { libc::setsid() };
            std::env::set_current_dir("/").map_err(failed)?;
            Ok(Side::Program(Ready(writer)))
        }
        child => {
            drop(writer);
            if matches!(reader.read(&mut [0]), Ok(1)) {
                return Ok(Side::Launcher(0));
            }
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            check(unsafe { libc::waitpid(child, &mut status, 0) }).map_err(failed)?;
            let code = if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                1
            };
            Ok(Side::Launcher(code.max(1)))
        }
    }
}

impl Ready {
    /// Lets the launcher end. Nothing of who started it is held any more: no terminal, no pipe.
    pub fn say(mut self) -> Result<(), Error> {
        let failed = |error| Error::Launch("cannot leave the terminal", error);
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(failed)?;
        for descriptor in 0..=2 {
            // SAFETY: both are descriptors of this process, and no value in it owns the second.
            check(unsafe { libc::dup2(null.as_raw_fd(), descriptor) }).map_err(failed)?;
        }
        let _ = self.0.write_all(b"r"); // the launcher may have been killed
        Ok(())
    }
}

/// Enters the groups before anything else is done, so that it is found in them at every moment of its life.
pub fn enter(cgroups: &[PathBuf]) -> Result<(), Error> {
    for file in cgroups {
        // 0 is whoever writes it.
        fs::write(file, "0").map_err(|error| Error::Cgroup(file.clone(), error))?;
    }
    Ok(())
}

/// As many descriptors as the system lets it have: each end of a connection takes one.
pub fn allow_descriptors() -> Result<(), Error> {
    let failed = |error| Error::Launch("cannot raise the limit of open files", error);
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit)).map_err(failed)?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit)).map_err(failed)?;
    }
    Ok(())
}

/// Who everybody is that has no name, in user namespaces too small for a number of its own.
const NOBODY: u32 = 65534;

/// Gives up root and every capability, for good. Call while there is one thread.
pub fn drop_privileges(user: Option<u32>) -> Result<(), Error> {
    let Some(user) = user else { return Ok(()) };
    let failed = |error| Error::Launch("cannot give up root", error);
    // SAFETY: no groups are given, so the null pointer is not read; the others take numbers.
    unsafe {
        check(libc::setgroups(0, std::ptr::null())).map_err(failed)?;
        let user = if libc::setresgid(user, user, user) == 0 {
            user
        } else {
            NOBODY
        };
        check(libc::setresgid(user, user, user)).map_err(failed)?;
        check(libc::setresuid(user, user, user)).map_err(failed)?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).map_err(failed)?;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
