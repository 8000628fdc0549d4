//! One file or directory with what belongs to it: content with its holes, owner, mode, extended attributes, times.

use crate::sys::{check, fstat, openat, statfs};
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const BUFFER_SIZE: usize = 1 << 20;
/// Bytes of the names of a file's extended attributes, and of the value of one, at most: xattr(7).
const MAX_ATTRIBUTES: usize = 64 << 10;
/// statfs(2)
const OVERLAYFS: i64 = 0x794c_7630;
/// ioctl_ficlone(2)
const FICLONE: libc::c_ulong = 0x4004_9409;

/// A place in a directory: an open directory and a name in it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub directory: RawFd,
    pub name: &'a CStr,
}

pub struct Copied {
    pub bytes: i64,
    /// Whatever is written to the file after it was read changes its times, as far as anybody asked.
    pub changes_show: bool,
    /// Nobody had it open for writing, nor mapped; likewise.
    pub unopened: bool,
}

/// Copies a regular file that is not there yet. `None`: the source is not the file of `stat` any more.
/// @param again whether it will have to be known if it was changed since: to find out can take a while
pub fn regular(from: Place, to: Place, stat: &libc::stat, again: bool) -> io::Result<Option<Copied>> {
    // A sandbox may put a pipe there meanwhile, which must not keep us waiting.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOATIME;
    let source = openat(from.directory, from.name, flags, 0)?;
    let now = fstat(source.as_raw_fd())?;
    if (now.st_dev, now.st_ino, now.st_mode & libc::S_IFMT) != (stat.st_dev, stat.st_ino, libc::S_IFREG) {
        return Ok(None);
    }
    let target = openat(
        to.directory,
        to.name,
        libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW,
        0o600,
    )?;
    let unopened = again && is_unopened(&source);
    let changes_show = unopened || (again && show_changes(&source));
    content(&source, &target, now.st_size)?;
    attributes(source.as_raw_fd(), target.as_raw_fd(), stat)?;
    times(target.as_raw_fd(), stat)?;
    Ok(Some(Copied {
        bytes: stat.st_size,
        changes_show,
        unopened,
    }))
}

/// A read lease is given for what nobody has open for writing, nor mapped.
fn is_unopened(file: &OwnedFd) -> bool {
    let fd = file.as_raw_fd();
    // SAFETY: the descriptor is open, and the lease is given back at once: it would hold up who opens the file to write.
    unsafe {
        let given = libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0;
        given && libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) == 0
    }
}

/// Has the kernel change the file's times at the next write through a mapping, which it does at the first write to each page that is clean.
/// @returns whether it does
fn show_changes(file: &OwnedFd) -> bool {
    let fd = file.as_raw_fd();
    // Pages that are being written to the disk are clean. An overlay's files have none: they are those of other files.
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    statfs(fd).map_or(false, |stat| stat.f_type as i64 != OVERLAYFS)
        // SAFETY: the descriptor is open.
        && unsafe { libc::sync_file_range(fd, 0, 0, flags) } == 0
}

fn content(source: &OwnedFd, target: &OwnedFd, size: i64) -> io::Result<()> {
    // SAFETY: both descriptors are open. Where the file system shares no blocks it says so.
    if unsafe { libc::ioctl(target.as_raw_fd(), FICLONE, source.as_raw_fd()) } == 0 {
        return Ok(());
    }
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < size {
        let Some(data) = seek(source, at, libc::SEEK_DATA)? else {
            break;
        };
        let hole = seek(source, data, libc::SEEK_HOLE)?.unwrap_or(size);
        at = data;
        while at < hole {
            let copied = chunk(source, target, at, (hole - at) as usize, &mut buffer)?;
            if copied == 0 {
                return Ok(()); // it became shorter
            }
            at += copied as i64;
        }
    }
    if at < size {
        // SAFETY: the descriptor is open. It ends with a hole.
        check(unsafe { libc::ftruncate(target.as_raw_fd(), size) })?;
    }
    Ok(())
}

/// The next data or hole; `None` when there is nothing but a hole up to the end.
fn seek(fd: &OwnedFd, offset: i64, whence: i32) -> io::Result<Option<i64>> {
    // SAFETY: the descriptor is open.
    let found = unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) };
    if found >= 0 {
        return Ok(Some(found));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        error => Err(error),
    }
}

fn chunk(source: &OwnedFd, target: &OwnedFd, offset: i64, length: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let (mut from, mut to) = (offset, offset);
    let (input, output) = (source.as_raw_fd(), target.as_raw_fd());
    if buffer.is_empty() {
        // SAFETY: both descriptors are open, the offsets are ours.
        let copied = unsafe { libc::copy_file_range(input, &mut from, output, &mut to, length, 0) };
        if copied >= 0 {
            return Ok(copied as usize);
        }
        let error = io::Error::last_os_error();
        let cannot = [libc::EXDEV, libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM];
        if !error.raw_os_error().map_or(false, |code| cannot.contains(&code)) {
            return Err(error);
        }
    }
    // No more than is needed: most files are small, and to have a large buffer takes longer than to read one.
    buffer.resize(buffer.len().max(length.min(BUFFER_SIZE)), 0);
    let wanted = length.min(buffer.len());
    // SAFETY: the buffer has that many bytes.
    let read = check(unsafe { libc::pread(input, buffer.as_mut_ptr().cast(), wanted, offset) } as i32)? as usize;
    let mut written = 0;
    while written < read {
        let rest = &buffer[written..read];
        // SAFETY: the slice's length is told.
        let count = unsafe { libc::pwrite(output, rest.as_ptr().cast(), rest.len(), offset + written as i64) };
        written += check(count as i32)? as usize;
    }
    Ok(read)
}

/// Makes a link, a pipe or a device that is not there yet. @returns false for what means nothing elsewhere: a socket
pub fn special(from: Place, to: Place, stat: &libc::stat) -> io::Result<bool> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => return Ok(false),
        libc::S_IFLNK => {
            let mut link = vec![0u8; stat.st_size.max(0) as usize + 1];
            // SAFETY: the buffer's length is told, less one for the zero at its end; the names outlive the calls.
            unsafe {
                let room = link.len() - 1;
                check(libc::readlinkat(from.directory, from.name.as_ptr(), link.as_mut_ptr().cast(), room) as i32)?;
                check(libc::symlinkat(link.as_ptr().cast(), to.directory, to.name.as_ptr()))?;
            }
        }
        _ => {
            // SAFETY: the name outlives the call.
            check(unsafe { libc::mknodat(to.directory, to.name.as_ptr(), stat.st_mode, stat.st_rdev) })?;
        }
    }
    let times = times_of(stat);
    // SAFETY: name and times outlive the calls.
    unsafe {
        let name = to.name.as_ptr();
        check(libc::fchownat(
            to.directory,
            name,
            stat.st_uid,
            stat.st_gid,
            libc::AT_SYMLINK_NOFOLLOW,
        ))?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
            check(libc::fchmodat(to.directory, name, stat.st_mode & 0o7777, 0))?;
        }
        check(libc::utimensat(
            to.directory,
            name,
            times.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        ))?;
    }
    Ok(true)
}

/// Gives one open file the owner, mode and extended attributes of another.
pub fn attributes(source: RawFd, target: RawFd, stat: &libc::stat) -> io::Result<()> {
    let there = fstat(target)?;
    let moves = (there.st_uid, there.st_gid) != (stat.st_uid, stat.st_gid);
    // To set what is set already can take as long as the file system's journal is busy.
    // SAFETY: the descriptors are open. A change of owner takes away set-user-id bits and capabilities, so it comes first.
    unsafe {
        if moves {
            check(libc::fchown(target, stat.st_uid, stat.st_gid))?;
        }
        if moves || (there.st_mode ^ stat.st_mode) & 0o7777 != 0 {
            check(libc::fchmod(target, stat.st_mode & 0o7777))?;
        }
    }
    let wanted = attribute_names(source)?;
    for name in attribute_names(target)?.iter().filter(|name| !wanted.contains(name)) {
        // SAFETY: the name ends with a zero.
        check(unsafe { libc::fremovexattr(target, name.as_ptr().cast()) })?;
    }
    for name in wanted {
        let name = name.as_ptr().cast();
        let mut value = vec![0u8; MAX_ATTRIBUTES];
        // SAFETY: the name ends with a zero, the buffer's length is told and is the most that there can be.
        let size = unsafe { libc::fgetxattr(source, name, value.as_mut_ptr().cast(), value.len()) };
        if size < 0 {
            continue; // it was taken away meanwhile
        }
        // SAFETY: the value has that many bytes.
        check(unsafe { libc::fsetxattr(target, name, value.as_ptr().cast(), size as usize, 0) })?;
    }
    Ok(())
}

/// Each with the zero at its end.
fn attribute_names(fd: RawFd) -> io::Result<Vec<Vec<u8>>> {
    // Most have none, which needs no room.
    // SAFETY: nothing is written.
    if unsafe { libc::flistxattr(fd, std::ptr::null_mut(), 0) } == 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![0u8; MAX_ATTRIBUTES];
    // SAFETY: the buffer's length is told and is the most that there can be.
    let size = unsafe { libc::flistxattr(fd, list.as_mut_ptr().cast(), list.len()) };
    if size < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) {
            Ok(Vec::new())
        } else {
            Err(error)
        };
    }
    Ok(list[..size as usize]
        .split_inclusive(|byte| *byte == 0)
        .map(<[u8]>::to_vec)
        .collect())
}

pub fn times(fd: RawFd, stat: &libc::stat) -> io::Result<()> {
    // SAFETY: the times outlive the call.
    check(unsafe { libc::futimens(fd, times_of(stat).as_ptr()) }).map(drop)
}

fn times_of(stat: &libc::stat) -> [libc::timespec; 2] {
    [
        libc::timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec,
        },
        libc::timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec,
        },
    ]
}
