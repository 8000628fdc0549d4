//! Directories below one, opened step by step and without following a link: programs may put one anywhere at any time.

use crate::sys::{self, check};
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

const FLAGS: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

pub struct Directory {
    fd: OwnedFd,
    /// The one below it that was asked for last: requests come in the order of paths.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Directory {
    /// @param path without links
    pub fn open(path: &Path) -> io::Result<Directory> {
        let fd = open_at(libc::AT_FDCWD, &CString::new(path.as_os_str().as_bytes())?, FLAGS)?;
        Ok(Directory { fd, last: None })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// What is below may be another one from now on.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The directory at a path below, which is empty for this one.
    pub fn below(&mut self, path: &[u8]) -> io::Result<RawFd> {
        if path.is_empty() {
            return Ok(self.fd());
        }
        if !self.last.as_ref().map_or(false, |(known, _)| known == path) {
            self.last = None;
            let mut inner: Option<OwnedFd> = None;
            for part in path.split(|byte| *byte == b'/') {
                let at = inner.as_ref().map_or(self.fd(), AsRawFd::as_raw_fd);
                inner = Some(open_at(at, &name(part)?, FLAGS)?);
            }
            self.last = inner.map(|fd| (path.to_vec(), fd));
        }
        Ok(self.last.as_ref().map_or(self.fd(), |(_, fd)| fd.as_raw_fd()))
    }
}

/// A name in a directory, and nothing that leads out of it.
pub fn name(bytes: &[u8]) -> io::Result<CString> {
    let is_none = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/');
    match CString::new(bytes) {
        Ok(name) if !is_none => Ok(name),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

pub fn open_at(directory: RawFd, name: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the name outlives the call; the new descriptor is nobody else's.
    unsafe {
        Ok(sys::owned(check(libc::openat(
            directory,
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            0o600, // of a new one
        ))?))
    }
}

pub fn open_directory(directory: RawFd, name: &CStr) -> io::Result<OwnedFd> {
    open_at(directory, name, FLAGS)
}

/// Of the name itself, or of the directory where it is empty.
pub fn stat_at(directory: RawFd, name: &CStr) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the kernel fills the structure when it answers 0.
    unsafe {
        check(libc::fstatat(
            directory,
            name.as_ptr(),
            stat.as_mut_ptr(),
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH,
        ))?;
        Ok(stat.assume_init())
    }
}

pub fn link_at(directory: RawFd, name: &CStr) -> io::Result<Vec<u8>> {
    let mut link = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer's length is told.
    let length = unsafe { libc::readlinkat(directory, name.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    link.truncate(check(length as i32)? as usize);
    Ok(link)
}

/// Sorted, so that what is listed comes in the order of paths.
pub fn names_in(directory: RawFd) -> io::Result<Vec<CString>> {
    let mut names = fs::read_dir(format!("/proc/self/fd/{directory}"))?
        .map(|entry| Ok(CString::new(entry?.file_name().into_vec())?))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}
