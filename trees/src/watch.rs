//! What programs do with the files of a tree meanwhile, as inotify(7) tells it: a file that nobody opened, nor changed, since it was copied need not be looked at again.
//!
//! What a sandbox writes goes through the overlay, and only there the kernel tells of it; its writable layer, which is copied, is another file system. So a watch is on the
//! directory of the overlay that shows the one which is copied. Writes through mappings are not told at all, but opening the file first is.

use crate::sys::{c_string, check, openat, openat2};
use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The kernel's number of a watch.
pub type Watch = i32;

/// openat2(2): a sandbox may put a link there meanwhile.
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const MASK: u32 = libc::IN_OPEN | libc::IN_MODIFY | libc::IN_ATTRIB | libc::IN_ONLYDIR;
/// Of an event without its name, inotify(7).
const HEADER: usize = 16;

#[derive(Default)]
struct Heard {
    names: HashMap<Watch, HashSet<CString>>,
    /// Some of it was not told.
    lost: bool,
}

pub struct Watcher {
    root: OwnedFd,
    events: Arc<OwnedFd>,
    heard: Arc<Mutex<Heard>>,
}

impl Watcher {
    /// @param root of the overlay
    pub fn new(root: &OsStr) -> io::Result<Watcher> {
        let root = openat(
            libc::AT_FDCWD,
            &c_string(root.as_bytes())?,
            libc::O_PATH | libc::O_DIRECTORY,
            0,
        )?;
        // SAFETY: the call succeeded when it gives a descriptor, which is nobody else's.
        let events = unsafe { OwnedFd::from_raw_fd(check(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?) };
        let events = Arc::new(events);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (source, sink) = (Arc::clone(&events), Arc::clone(&heard));
        // The kernel keeps so many events and no more. The thread ends with the program.
        thread::spawn(move || loop {
            let mut poll = libc::pollfd {
                fd: source.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: the structure outlives the call.
            unsafe { libc::poll(&mut poll, 1, -1) };
            drain(&source, &mut lock(&sink));
        });
        Ok(Watcher { root, events, heard })
    }

    /// @param path below the root, ends with a slash; empty for the root. `None`: nothing will be heard of it
    pub fn watch(&self, path: &[u8]) -> Option<Watch> {
        let path = c_string(&[b"./", path].concat()).ok()?;
        let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = openat2(self.root.as_raw_fd(), &path, flags, resolve).ok()?;
        let place = c_string(format!("/proc/self/fd/{}", directory.as_raw_fd()).as_bytes()).ok()?;
        // SAFETY: the name outlives the call.
        check(unsafe { libc::inotify_add_watch(self.events.as_raw_fd(), place.as_ptr(), MASK) }).ok()
    }

    /// What was told since the last call, by watches; `None` when some was lost.
    pub fn take(&self) -> Option<HashMap<Watch, HashSet<CString>>> {
        let mut heard = lock(&self.heard);
        drain(&self.events, &mut heard);
        let names = std::mem::take(&mut heard.names);
        (!heard.lost).then_some(names)
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads all that there is.
fn drain(events: &OwnedFd, heard: &mut Heard) {
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        // SAFETY: the buffer's length is told.
        let read = unsafe { libc::read(events.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        if read <= 0 {
            return;
        }
        let mut rest = &buffer[..read as usize];
        while rest.len() >= HEADER {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let (watch, mask, length) = (word(0) as Watch, word(4), word(12) as usize);
            heard.lost |= mask & libc::IN_Q_OVERFLOW != 0;
            let name = rest[HEADER..HEADER + length].split(|byte| *byte == 0).next();
            if let Some(Ok(name)) = name.map(c_string) {
                heard.names.entry(watch).or_default().insert(name);
            }
            rest = &rest[HEADER + length..];
        }
    }
}
