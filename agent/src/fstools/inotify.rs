//! inotify, typed.

use crate::sys::{self, check};
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Number of a watch.
pub type Watch = i32;

#[derive(Debug)]
pub struct Event {
    pub watch: Watch,
    pub mask: u32,
    /// Joins the two halves of a rename.
    pub cookie: u32,
    /// Name within the watched directory; `None` when it is about the watched thing itself.
    pub name: Option<OsString>,
}

impl Event {
    pub fn is(&self, bits: u32) -> bool {
        self.mask & bits != 0
    }
}

pub struct Inotify(OwnedFd);

const MASK: u32 = libc::IN_ACCESS
    | libc::IN_MODIFY
    | libc::IN_ATTRIB
    | libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_DELETE_SELF
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_MOVE_SELF;

impl Inotify {
    pub fn new() -> io::Result<Inotify> {
        // SAFETY: the new descriptor is ours alone.
        unsafe {
            Ok(Inotify(sys::owned(check(libc::inotify_init1(
                libc::IN_CLOEXEC | libc::IN_NONBLOCK,
            ))?)))
        }
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn add(&self, path: &Path) -> io::Result<Watch> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: a NUL-terminated path.
        check(unsafe { libc::inotify_add_watch(self.fd(), path.as_ptr(), MASK) })
    }

    pub fn remove(&self, watch: Watch) {
        // SAFETY: no memory is involved. A watch that is gone already is fine.
        unsafe { libc::inotify_rm_watch(self.fd(), watch) };
    }

    /// What happened since the last call; empty when nothing did.
    pub fn read(&self) -> io::Result<Vec<Event>> {
        let mut buffer = [0; 16 << 10];
        let count = match sys::read(self.fd(), &mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(parse(&buffer[..count]))
    }
}

/// `wd: i32, mask: u32, cookie: u32, len: u32, name[len]`, the name padded with NULs.
fn parse(mut bytes: &[u8]) -> Vec<Event> {
    const HEADER: usize = 16;
    let mut events = Vec::new();
    while bytes.len() >= HEADER {
        let field =
            |index: usize| u32::from_ne_bytes([bytes[index], bytes[index + 1], bytes[index + 2], bytes[index + 3]]);
        let end = (HEADER + field(12) as usize).min(bytes.len());
        let name: Vec<u8> = bytes[HEADER..end]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        let name = if name.is_empty() {
            None
        } else {
            Some(OsString::from_vec(name))
        };
        events.push(Event {
            watch: field(0) as Watch,
            mask: field(4),
            cookie: field(8),
            name,
        });
        bytes = &bytes[end..];
    }
    events
}
