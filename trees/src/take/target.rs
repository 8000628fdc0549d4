//! The layer that is written: a directory that nobody else sees, and in which no path leads through a link.

use super::listing::Entry;
use crate::entry::{kind, remove};
use crate::sys::{c_string, check, fstat, fstatat, literal, openat, openat2, sync_filesystem};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
/// openat2(2)
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const CAPABILITY: &[u8] = b"security.capability";
/// What a program gives its own files. Others would mean something to this machine.
const ATTRIBUTES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

pub struct Target {
    root: OwnedFd,
    /// The directory that was used last: entries come in the order of paths.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Target {
    pub fn open(directory: &OsStr) -> io::Result<Target> {
        let root = openat(libc::AT_FDCWD, &c_string(directory.as_bytes())?, DIRECTORY, 0)?;
        Ok(Target { root, last: None })
    }

    pub fn sync(&self) -> io::Result<()> {
        sync_filesystem(&self.root)
    }

    pub fn remove(&mut self, path: &[u8]) -> io::Result<()> {
        self.last = None;
        let (directory, name) = self.place(path)?;
        remove(directory, &name)
    }

    /// A link or a pipe.
    pub fn plain(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        let (directory, name) = self.cleared(path)?;
        if entry.kind() == libc::S_IFLNK {
            let link = c_string(&entry.link)?;
            // SAFETY: the names outlive the call.
            check(unsafe { libc::symlinkat(link.as_ptr(), directory, name.as_ptr()) })?;
        } else {
            // SAFETY: the name outlives the call.
            check(unsafe { libc::mkfifoat(directory, name.as_ptr(), 0o600) })?;
        }
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: names and times outlive the calls.
        unsafe {
            check(libc::fchownat(directory, name.as_ptr(), entry.uid, entry.gid, flags))?;
            if entry.kind() != libc::S_IFLNK {
                check(libc::fchmodat(directory, name.as_ptr(), entry.mode & 0o7777, 0))?;
            }
            check(libc::utimensat(
                directory,
                name.as_ptr(),
                times(entry.modified).as_ptr(),
                flags,
            ))?;
        }
        Ok(())
    }

    /// A directory, which may be there, or an empty file, which is new: open, for its content.
    pub fn begin(&mut self, path: &[u8], is_directory: bool) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return openat(self.root.as_raw_fd(), literal(b".\0"), DIRECTORY, 0);
        }
        if !is_directory {
            let (directory, name) = self.cleared(path)?;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            return openat(directory, &name, flags, 0o600);
        }
        let (directory, name) = self.place(path)?;
        let is_there = fstatat(directory, &name, 0).map_or(false, |stat| kind(&stat) == libc::S_IFDIR);
        if !is_there {
            remove(directory, &name)?;
            // SAFETY: the name outlives the call.
            check(unsafe { libc::mkdirat(directory, name.as_ptr(), 0o700) })?;
        }
        openat(directory, &name, DIRECTORY, 0)
    }

    /// Another name of a file that is there.
    pub fn link(&mut self, other: &[u8], path: &[u8]) -> io::Result<()> {
        let (_, from) = self.place(other)?;
        let from_directory = self.directory_of(other)?;
        let (directory, name) = self.cleared(path)?;
        let from_directory = from_directory
            .as_ref()
            .map_or(self.root.as_raw_fd(), AsRawFd::as_raw_fd);
        // SAFETY: the names outlive the call.
        check(unsafe { libc::linkat(from_directory, from.as_ptr(), directory, name.as_ptr(), 0) }).map(drop)
    }

    /// Gives what was made another name, at which there may be a file.
    pub fn rename(&mut self, made: &[u8], path: &[u8]) -> io::Result<()> {
        let (_, from) = self.place(made)?;
        let from_directory = self.directory_of(made)?;
        let (directory, name) = self.place(path)?;
        let is_directory = fstatat(directory, &name, 0).map_or(false, |stat| kind(&stat) == libc::S_IFDIR);
        let (directory, name) = if is_directory {
            self.cleared(path)?
        } else {
            (directory, name)
        };
        let from_directory = from_directory
            .as_ref()
            .map_or(self.root.as_raw_fd(), AsRawFd::as_raw_fd);
        // SAFETY: the names outlive the call.
        check(unsafe { libc::renameat(from_directory, from.as_ptr(), directory, name.as_ptr()) }).map(drop)
    }

    /// Takes a name away, of a directory only if nothing is in it. Nothing to take away is fine.
    pub fn unlink(&mut self, path: &[u8], is_directory: bool) -> io::Result<()> {
        self.last = None;
        let (directory, name) = match self.place(path) {
            Err(error) if is_elsewhere(&error) => return Ok(()),
            other => other?,
        };
        let flags = if is_directory { libc::AT_REMOVEDIR } else { 0 };
        // SAFETY: the name outlives the call.
        match check(unsafe { libc::unlinkat(directory, name.as_ptr(), flags) }) {
            Err(error) if !is_elsewhere(&error) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn stat(&mut self, path: &[u8]) -> io::Result<libc::stat> {
        let (directory, name) = self.place(path)?;
        fstatat(directory, &name, 0)
    }

    /// The mark of what is not there any more.
    pub fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        let (directory, name) = self.cleared(path)?;
        // SAFETY: the name outlives the call.
        check(unsafe { libc::mknodat(directory, name.as_ptr(), libc::S_IFCHR, 0) }).map(drop)
    }

    pub fn directory_time(&mut self, path: &[u8], entry: &Entry) -> io::Result<()> {
        let directory = self.begin(path, true)?;
        set_times(&directory, entry.modified)
    }

    fn cleared(&mut self, path: &[u8]) -> io::Result<(RawFd, CString)> {
        let (directory, name) = self.place(path)?;
        let is_directory = fstatat(directory, &name, 0).map_or(false, |stat| kind(&stat) == libc::S_IFDIR);
        if is_directory {
            // The one that was used last may be in it.
            self.last = None;
        }
        let (directory, name) = self.place(path)?;
        remove(directory, &name)?;
        Ok((directory, name))
    }

    fn place(&mut self, path: &[u8]) -> io::Result<(RawFd, CString)> {
        let parent = super::parent(path);
        let name = path.get(parent.len()..).unwrap_or_default();
        let name = c_string(name.strip_prefix(b"/").unwrap_or(name))?;
        if parent.is_empty() {
            return Ok((self.root.as_raw_fd(), name));
        }
        if !self.last.as_ref().map_or(false, |(known, _)| known == parent) {
            let opened = self.directory_of(path)?;
            self.last = opened.map(|fd| (parent.to_vec(), fd));
        }
        let directory = self
            .last
            .as_ref()
            .map_or(self.root.as_raw_fd(), |(_, fd)| fd.as_raw_fd());
        Ok((directory, name))
    }

    /// None for what is in the root.
    fn directory_of(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let parent = super::parent(path);
        if parent.is_empty() {
            return Ok(None);
        }
        let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
        openat2(self.root.as_raw_fd(), &c_string(parent)?, DIRECTORY, resolve).map(Some)
    }
}

/// Something else is there, or nothing.
fn is_elsewhere(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::EISDIR | libc::ENOTEMPTY | libc::ELOOP)
    )
}

/// Owner and mode, which come first: a change of owner takes capabilities away.
pub fn set_owner(file: &OwnedFd, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    unsafe {
        check(libc::fchown(file.as_raw_fd(), uid, gid))?;
        check(libc::fchmod(file.as_raw_fd(), mode & 0o7777)).map(drop)
    }
}

/// An extended attribute, if it is one that a sandbox may give. What the file system has no place for is left out.
pub fn set_attribute(file: &OwnedFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    let is_capability = name == CAPABILITY;
    let value = match capability(value) {
        Some(capability) if is_capability => capability,
        _ if is_capability => return Ok(()),
        _ if name.starts_with(b"user.") || ATTRIBUTES.contains(&name) => value.to_vec(),
        _ => return Ok(()),
    };
    let Ok(name) = c_string(name) else { return Ok(()) };
    // SAFETY: the value's length is told, and the name outlives the call.
    let result = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    match check(result) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EIO)) => Err(error),
        _ => Ok(()),
    }
}

/// Version 2 of `struct vfs_cap_data`, of that or of version 3 for root: `server/src/images/layers/file-capabilities.ts`.
fn capability(value: &[u8]) -> Option<Vec<u8>> {
    const VERSION_2: u32 = 0x0200_0000;
    const VERSION_3: u32 = 0x0300_0000;
    const EFFECTIVE: u32 = 1;
    let magic = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
    let version = match value.len() {
        20 => VERSION_2,
        24 if value[20..] == [0; 4] => VERSION_3,
        _ => return None,
    };
    if magic & !EFFECTIVE != version {
        return None;
    }
    Some([&(VERSION_2 | magic & EFFECTIVE).to_le_bytes(), &value[4..20]].concat())
}

pub fn set_times(file: &OwnedFd, modified: i128) -> io::Result<()> {
    // SAFETY: the times outlive the call.
    check(unsafe { libc::futimens(file.as_raw_fd(), times(modified).as_ptr()) }).map(drop)
}

fn times(modified: i128) -> [libc::timespec; 2] {
    const SECOND: i128 = 1_000_000_000;
    let time = || libc::timespec {
        tv_sec: modified.div_euclid(SECOND) as i64,
        tv_nsec: modified.rem_euclid(SECOND) as i64,
    };
    [time(), time()]
}

pub fn write_at(file: &OwnedFd, data: &[u8], offset: u64) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let mut written = 0;
    while written < data.len() {
        let rest = &data[written..];
        // SAFETY: the slice's length is told.
        let count = unsafe {
            libc::pwrite(
                file.as_raw_fd(),
                rest.as_ptr().cast(),
                rest.len(),
                offset.saturating_add(written as i64),
            )
        };
        written += check(count as i32)? as usize;
    }
    Ok(())
}

pub fn set_size(file: &OwnedFd, size: u64) -> io::Result<()> {
    let size = i64::try_from(size).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    if fstat(file.as_raw_fd())?.st_size == size {
        return Ok(());
    }
    // SAFETY: the descriptor is open.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), size) }).map(drop)
}
