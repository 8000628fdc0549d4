//! What is in a directory, what is known of it, and taking it away.

use crate::sys::{c_string, check, fstatat, nanoseconds, openat};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::io::{AsRawFd, RawFd};

/// Two files with equal stamps are the same one with the same content, unless it was changed within what the clock can tell apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    size: i64,
    changed: i128,
}

impl Stamp {
    pub fn of(stat: &libc::stat) -> Stamp {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            size: stat.st_size,
            changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether nothing changed it since then.
    pub fn is_older_than(&self, time: i128) -> bool {
        self.changed < time
    }

    pub fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode, self.mode & libc::S_IFMT) == (other.device, other.inode, other.mode & libc::S_IFMT)
    }
}

/// What tells hard links of one file.
pub fn file_id(stat: &libc::stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

pub fn kind(stat: &libc::stat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

/// The names in an open directory but `.` and `..`, getdents64(2).
pub fn names(directory: RawFd) -> io::Result<Vec<CString>> {
    /// Where a record has its length and its name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut names = Vec::new();
    let mut buffer = vec![0u8; 32 << 10];
    // It may have been read before.
    // SAFETY: the descriptor is open.
    check(unsafe { libc::lseek(directory, 0, libc::SEEK_SET) } as i32)?;
    loop {
        // SAFETY: the buffer's length is told.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, directory, buffer.as_mut_ptr(), buffer.len()) };
        let mut rest = &buffer[..check(read as i32)? as usize];
        if rest.is_empty() {
            return Ok(names);
        }
        while rest.len() > NAME {
            let length = usize::from(u16::from_ne_bytes([rest[LENGTH], rest[LENGTH + 1]]));
            let name = rest[NAME..length].split(|byte| *byte == 0).next().unwrap_or_default();
            if name != b"." && name != b".." {
                names.push(c_string(name)?);
            }
            rest = &rest[length..];
        }
    }
}

/// Removes whatever has that name; nothing to remove is fine.
pub fn remove(directory: RawFd, name: &CStr) -> io::Result<()> {
    let unlink = |flags| {
        // SAFETY: the name outlives the call.
        check(unsafe { libc::unlinkat(directory, name.as_ptr(), flags) })
    };
    match fstatat(directory, name, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        Err(error) => return Err(error),
        Ok(stat) if kind(&stat) != libc::S_IFDIR => return unlink(0).map(drop),
        Ok(_) => {}
    }
    let inner = openat(
        directory,
        name,
        libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW,
        0,
    )?;
    for each in names(inner.as_raw_fd())? {
        remove(inner.as_raw_fd(), &each)?;
    }
    unlink(libc::AT_REMOVEDIR).map(drop)
}
