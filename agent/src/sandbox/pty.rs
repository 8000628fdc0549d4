//! Pseudo-terminals.

use crate::sys::{self, check};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// A new terminal of the given size, (master, slave). The master is non-blocking.
pub fn open(rows: u16, cols: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = open_file(b"/dev/ptmx\0").or_else(|_| open_file(b"/dev/pts/ptmx\0"))?;
    let mut number: libc::c_int = 0;
    let mut unlock: libc::c_int = 0;
    // SAFETY: both ioctls take a pointer to an int that is valid for the call.
    unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &mut unlock))?;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &mut number))?;
    }
    let slave = open_file(format!("/dev/pts/{}\0", number).as_bytes())?;
    resize(&master, rows, cols)?;
    sys::set_nonblocking(&master)?;
    Ok((master, slave))
}

fn open_file(path: &[u8]) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: every caller passes a NUL-terminated path; the new descriptor is ours alone.
    unsafe {
        Ok(sys::owned(check(libc::open(
            path.as_ptr() as *const libc::c_char,
            flags,
        ))?))
    }
}

/// Sets the size. True when the kernel tells the foreground process group with SIGWINCH; gVisor, where a master does not know
/// that group, leaves it to the caller.
pub fn resize(terminal: &OwnedFd, rows: u16, cols: u16) -> io::Result<bool> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let mut foreground: libc::pid_t = 0;
    // SAFETY: TIOCSWINSZ reads a winsize and TIOCGPGRP writes a pid_t, both valid for the call.
    unsafe {
        check(libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size))?;
        Ok(libc::ioctl(terminal.as_raw_fd(), libc::TIOCGPGRP, &mut foreground) == 0)
    }
}

/// The terminal's current end-of-file character, Ctrl-D unless somebody changed it.
pub fn eof_character(terminal: &OwnedFd) -> u8 {
    // SAFETY: an all-zero termios is valid, and tcgetattr fills it in.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        match libc::tcgetattr(terminal.as_raw_fd(), &mut settings) {
            0 => settings.c_cc[libc::VEOF],
            _ => 4,
        }
    }
}
