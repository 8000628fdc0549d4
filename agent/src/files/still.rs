//! Has all other programs of the sandbox stand still. Nobody outside can do that in a Pod, so they get SIGSTOP, which none can ignore. A small process of this
//! program's lets them go on, whatever becomes of it.

use crate::sys::{self, check};
use libc::pid_t;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// The first process of a sandbox.
const INIT: &str = "skerry-agent";
/// What begins meanwhile is found in the next round.
const MAX_ROUNDS: usize = 64;
/// As long as anybody is held up, even if the server is gone or the network.
const MAX_STILL_MS: i32 = 120_000;

pub struct Still {
    /// The watcher lets all go on when this is closed.
    hold: OwnedFd,
    /// It says so here, with a byte when it was in time.
    done: OwnedFd,
}

impl Still {
    pub fn begin() -> io::Result<Still> {
        // Else it would be the machine that stands still.
        if fs::read_to_string("/proc/1/comm").map_or(true, |name| name.trim_end() != INIT) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let (told, hold) = sys::pipe()?;
        let (done, says) = sys::pipe()?;
        // SAFETY: this program has one thread; the child calls nothing that another could hold.
        match check(unsafe { libc::fork() })? {
            0 => {
                drop(hold);
                drop(done);
                watch(&told, &says)
            }
            child => {
                drop(told);
                drop(says);
                // SAFETY: `status` is valid for the call.
                unsafe { libc::waitpid(child, &mut 0, 0) };
            }
        }
        let mut ready = [0u8];
        if sys::read(done.as_raw_fd(), &mut ready)? == 0 {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        Ok(Still { hold, done })
    }

    /// @returns false when it took too long: they went on before
    pub fn end(self) -> bool {
        let Still { hold, done } = self;
        drop(hold);
        let mut in_time = [0u8];
        matches!(sys::read(done.as_raw_fd(), &mut in_time), Ok(1))
    }
}

/// Stops all, says so, and lets them go on. Its parent ends at once, so that it is of no family: who kills that leaves it alone.
fn watch(told: &OwnedFd, says: &OwnedFd) -> ! {
    // SAFETY: cannot fail.
    let helper = unsafe { libc::getppid() };
    // SAFETY: as for the first one.
    if unsafe { libc::fork() } != 0 {
        // SAFETY: nothing of the other one's is run at the end.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: cannot fail for one that just began; nothing here has these open. Who waits for what the helper says waits for its end.
    unsafe {
        libc::setsid();
        for fd in 0..=2 {
            libc::close(fd);
        }
    }
    let stopped = stop_all(&[1, helper, sys::own_pid()]);
    let _ = sys::write(says.as_raw_fd(), &[1]);
    let mut asked = libc::pollfd {
        fd: told.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, valid for the call.
    let in_time = unsafe { libc::poll(&mut asked, 1, MAX_STILL_MS) } > 0;
    // The youngest first: a shell that goes on finds its programs running.
    for pid in stopped.iter().rev() {
        sys::kill(*pid, libc::SIGCONT);
    }
    if in_time {
        let _ = sys::write(says.as_raw_fd(), &[1]);
    }
    // SAFETY: likewise.
    unsafe { libc::_exit(0) }
}

/// @returns those that it stopped, and not who stood still before
fn stop_all(spared: &[pid_t]) -> Vec<pid_t> {
    let mut seen: HashSet<pid_t> = spared.iter().copied().collect();
    let mut stopped = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let before = seen.len();
        for pid in all() {
            if seen.insert(pid) && state_of(pid).map_or(false, |state| !matches!(state, 'T' | 't' | 'Z' | 'X')) {
                sys::kill(pid, libc::SIGSTOP);
                stopped.push(pid);
            }
        }
        if seen.len() == before {
            break;
        }
    }
    stopped.sort_unstable();
    stopped
}

fn all() -> Vec<pid_t> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Behind the name, which may hold anything.
fn state_of(pid: pid_t) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat);
    text[text.rfind(')')? + 1..].trim_start().chars().next()
}
