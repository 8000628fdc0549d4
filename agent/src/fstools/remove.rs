//! Remove. Works on descriptors, so that nobody can lead it elsewhere by swapping a directory for a link, and in bounded memory and
//! descriptors for trees of any depth.

use super::error::Error;
use crate::sys::{self, check};
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Directories below this depth are moved up to the root of the removal and come later.
const MAX_DEPTH: usize = 64;

pub fn remove(path: &Path, recursive: bool) -> Result<(), Error> {
    if !fs::symlink_metadata(path)?.is_dir() {
        fs::remove_file(path)?;
        return Ok(());
    }
    if recursive {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)?;
        let root = open_directory(libc::AT_FDCWD, &name)?;
        empty(&root)?;
    }
    fs::remove_dir(path)?;
    Ok(())
}

fn open_directory(parent: RawFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated name; the new descriptor is ours alone.
    unsafe { Ok(sys::owned(check(libc::openat(parent, name.as_ptr(), flags))?)) }
}

fn unlink(parent: RawFd, name: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: a NUL-terminated name.
    check(unsafe { libc::unlinkat(parent, name.as_ptr(), flags) }).map(drop)
}

/// Somebody else removing the same thing is welcome.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Removes everything in `root`. Each pass takes what it sees; deep directories and latecomers are for the next one.
fn empty(root: &OwnedFd) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let names = children(root)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            remove_child(root, root, &name, 0, &mut moved)?;
        }
    }
}

fn remove_child(root: &OwnedFd, parent: &OwnedFd, name: &CStr, depth: usize, moved: &mut u64) -> io::Result<()> {
    let at = parent.as_raw_fd();
    match unlink(at, name, 0) {
        // Linux says EISDIR for a directory, POSIX EPERM.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::EPERM)) => {
            if unlink(at, name, libc::AT_REMOVEDIR).is_ok() {
                return Ok(());
            }
            let directory = match open_directory(at, name) {
                Ok(directory) => directory,
                // Not a directory after all: the first error was about a file.
                Err(other) if other.raw_os_error() == Some(libc::ENOTDIR) => return Err(error),
                Err(other) => return unless_gone(Err(other)),
            };
            if depth == MAX_DEPTH {
                return move_up(root, at, name, moved);
            }
            for child in children(&directory)? {
                remove_child(root, &directory, &child, depth + 1, moved)?;
            }
            unless_gone(unlink(at, name, libc::AT_REMOVEDIR))
        }
        other => unless_gone(other),
    }
}

fn move_up(root: &OwnedFd, parent: RawFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let new = CString::new(format!(".skerry-remove-{}-{}", std::process::id(), moved))?;
        // SAFETY: both names are NUL-terminated.
        match check(unsafe { libc::renameat(parent, name.as_ptr(), root.as_raw_fd(), new.as_ptr()) }) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EEXIST | libc::ENOTEMPTY | libc::ENOTDIR)
                ) => {}
            other => return unless_gone(other.map(drop)),
        }
    }
}

/// The names in a directory, through a descriptor of its own.
fn children(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(CString::new(entry?.file_name().as_bytes())?);
    }
    Ok(names)
}
