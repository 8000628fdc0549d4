//! One file as it is now: owner, mode, extended attributes, and content without its holes.

use super::directory::{name, open_at, stat_at, Directory};
use super::wire::Wire;
use crate::sys::check;
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

const CHUNK: usize = 64 << 10;
/// Of the names of a file's attributes, and of the value of one: xattr(7).
const MAX_ATTRIBUTES: usize = 64 << 10;

/// Of a directory or a file; anything else that is there by now is none of these, and so not there.
pub fn give(root: &mut Directory, path: &[u8], wire: &mut Wire) -> io::Result<()> {
    match open(root, path) {
        Ok(Some((file, stat))) => {
            wire.byte(b'F')?;
            wire.stat(&stat)?;
            attributes(&file, wire)?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFREG {
                content(&file, wire)?;
            }
            Ok(())
        }
        Ok(None) => wire.byte(b'g'),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENXIO)
            ) =>
        {
            wire.byte(b'g')
        }
        Err(error) => Err(error),
    }
}

fn open(root: &mut Directory, path: &[u8]) -> io::Result<Option<(OwnedFd, libc::stat)>> {
    let (parent, last) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(cut) => (&path[..cut], &path[cut + 1..]),
        None => (&path[..0], path),
    };
    let directory = root.below(parent)?;
    // A pipe that somebody put there must not keep it waiting.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = if last.is_empty() && path.is_empty() {
        open_at(directory, &CString::new(".")?, flags)?
    } else {
        let name = name(last)?;
        // To open a device does something.
        let kind = stat_at(directory, &name)?.st_mode & libc::S_IFMT;
        if kind != libc::S_IFREG && kind != libc::S_IFDIR {
            return Ok(None);
        }
        open_at(directory, &name, flags)?
    };
    let stat = stat_at(file.as_raw_fd(), &CString::default())?;
    let kind = stat.st_mode & libc::S_IFMT;
    Ok((kind == libc::S_IFREG || kind == libc::S_IFDIR).then_some((file, stat)))
}

fn attributes(file: &OwnedFd, wire: &mut Wire) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let mut list = vec![0u8; MAX_ATTRIBUTES];
    // SAFETY: the buffer's length is told. A file system without attributes has none.
    let size = unsafe { libc::flistxattr(fd, list.as_mut_ptr().cast(), list.len()) }.max(0);
    let mut found = Vec::new();
    for name in list[..size as usize]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0u8; MAX_ATTRIBUTES];
        let key = CString::new(name)?;
        // SAFETY: the buffer's length is told.
        let size = unsafe { libc::fgetxattr(fd, key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        if size >= 0 {
            value.truncate(size as usize);
            found.push((name, value));
        }
    }
    wire.number(found.len() as u32)?;
    for (name, value) in found {
        wire.text(name)?;
        wire.bytes(&value)?;
    }
    Ok(())
}

fn content(file: &OwnedFd, wire: &mut Wire) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK];
    let mut at = 0;
    loop {
        at = data_from(file, at)?;
        // SAFETY: the buffer's length is told.
        let read = unsafe { libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), at) };
        let read = check(read as i32)? as usize;
        if read == 0 {
            break;
        }
        // Not every file system tells where there is nothing.
        if buffer[..read].iter().any(|byte| *byte != 0) {
            wire.byte(b'c')?;
            wire.long(at as u64)?;
            wire.bytes(&buffer[..read])?;
        }
        at += read as i64;
    }
    wire.byte(b'z')?;
    wire.long(stat_at(file.as_raw_fd(), &CString::default())?.st_size as u64)
}

/// Where the next data are; the offset itself where that is not told, the end where there are none.
fn data_from(file: &OwnedFd, offset: i64) -> io::Result<i64> {
    // SAFETY: the descriptor is open.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, libc::SEEK_DATA) };
    if found >= 0 {
        return Ok(found);
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENXIO) => Ok(stat_at(file.as_raw_fd(), &CString::default())?.st_size.max(offset)),
        _ => Ok(offset),
    }
}
