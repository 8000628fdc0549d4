//! What the server brings of a volume. Each file appears whole, and takes the place only of what the server knows: what a program made or changed meanwhile is its
//! own, and stays.

use super::directory::{name, open_at, open_directory, stat_at, Directory};
use super::requests::Requests;
use super::wire::Wire;
use crate::sys::check;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

/// Where a file is until it is whole, in the top directory. `trees/src/mirror/` has the same.
const UNFINISHED: &[u8] = b".skerry-incoming\0";
const EMPTY: &[u8] = b"\0";

/// What must be at a path for something else to take its place.
enum Expected {
    Nothing,
    /// With that inode, changed then.
    Entry(u64, libc::timespec),
    Directory,
}

struct Dress {
    mode: u32,
    uid: u32,
    gid: u32,
}

pub struct Put<'a, In: Read> {
    pub root: &'a mut Directory,
    pub requests: &'a mut Requests<In>,
}

impl<In: Read> Put<'_, In> {
    /// `k` when it was done, with what is there now unless that is nothing; `n` where something else stands or is missing.
    pub fn answer(&mut self, request: u8, wire: &mut Wire) -> io::Result<()> {
        let path = self.requests.text()?;
        let done = match request {
            b'D' => self.directory(&path),
            b'F' => self.file(&path),
            b'K' => self.link(&path),
            _ => self.remove(&path),
        };
        match done {
            Ok(found) => {
                wire.byte(b'k')?;
                found.map_or(Ok(()), |stat| wire.stat(&stat))
            }
            Err(error) if is_overtaken(&error) => wire.byte(b'n'),
            Err(error) => Err(error),
        }
    }

    /// One that is there gets this owner and mode.
    fn directory(&mut self, path: &[u8]) -> io::Result<Option<libc::stat>> {
        let dress = self.dress()?;
        let opened = if path.is_empty() {
            open_at(self.root.fd(), literal(b".\0")?, libc::O_RDONLY | libc::O_DIRECTORY)?
        } else {
            let (parent, last) = self.place(path)?;
            // SAFETY: the name outlives the call.
            match check(unsafe { libc::mkdirat(parent, last.as_ptr(), 0o700) }) {
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => return Err(error),
                _ => {}
            }
            open_directory(parent, &last)?
        };
        dress.put_on(&opened)?;
        stat_at(opened.as_raw_fd(), literal(EMPTY)?).map(Some)
    }

    fn file(&mut self, path: &[u8]) -> io::Result<Option<libc::stat>> {
        let expected = self.expected()?;
        let dress = self.dress()?;
        let modified = self.requests.time()?;
        self.clear()?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = std::fs::File::from(open_at(self.root.fd(), literal(UNFINISHED)?, flags)?);
        loop {
            match self.requests.byte()? {
                b'c' => {
                    let offset = self.requests.long()?;
                    file.write_all_at(&self.requests.chunk()?, offset)?;
                }
                b'z' => {
                    file.set_len(self.requests.long()?)?;
                    break;
                }
                _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
            }
        }
        let file = OwnedFd::from(file);
        dress.put_on(&file)?;
        // SAFETY: the times outlive the call.
        check(unsafe { libc::futimens(file.as_raw_fd(), [modified, modified].as_ptr()) })?;
        self.finish(path, &expected)
    }

    fn link(&mut self, path: &[u8]) -> io::Result<Option<libc::stat>> {
        let expected = self.expected()?;
        let dress = self.dress()?;
        let modified = self.requests.time()?;
        let link = CString::new(self.requests.text()?)?;
        self.clear()?;
        let (directory, temporary) = (self.root.fd(), literal(UNFINISHED)?.as_ptr());
        // SAFETY: names and times outlive the calls.
        unsafe {
            check(libc::symlinkat(link.as_ptr(), directory, temporary))?;
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            check(libc::fchownat(directory, temporary, dress.uid, dress.gid, flags))?;
            check(libc::utimensat(
                directory,
                temporary,
                [modified, modified].as_ptr(),
                flags,
            ))?;
        }
        self.finish(path, &expected)
    }

    fn remove(&mut self, path: &[u8]) -> io::Result<Option<libc::stat>> {
        let expected = self.expected()?;
        let (directory, last) = self.place(path)?;
        let flags = match expected {
            Expected::Directory => libc::AT_REMOVEDIR,
            _ if expected.is_met(directory, &last)? => 0,
            _ => return Err(overtaken()),
        };
        self.root.forget();
        let (directory, last) = self.place(path)?;
        // SAFETY: the name outlives the call.
        check(unsafe { libc::unlinkat(directory, last.as_ptr(), flags) })?;
        Ok(None)
    }

    /// Gives what is whole its place.
    fn finish(&mut self, path: &[u8], expected: &Expected) -> io::Result<Option<libc::stat>> {
        let top = self.root.fd();
        let (directory, last) = self.place(path)?;
        if !expected.is_met(directory, &last)? {
            self.clear()?;
            return Err(overtaken());
        }
        // SAFETY: the names outlive the call.
        check(unsafe { libc::renameat(top, literal(UNFINISHED)?.as_ptr(), directory, last.as_ptr()) })?;
        stat_at(directory, &last).map(Some)
    }

    fn clear(&self) -> io::Result<()> {
        // SAFETY: the name outlives the call.
        match check(unsafe { libc::unlinkat(self.root.fd(), literal(UNFINISHED)?.as_ptr(), 0) }) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    fn place(&mut self, path: &[u8]) -> io::Result<(RawFd, CString)> {
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (parent, last) = cut.map_or((&path[..0], path), |cut| (&path[..cut], &path[cut + 1..]));
        Ok((self.root.below(parent)?, name(last)?))
    }

    fn expected(&mut self) -> io::Result<Expected> {
        match self.requests.byte()? {
            0 => Ok(Expected::Nothing),
            1 => Ok(Expected::Entry(self.requests.long()?, self.requests.time()?)),
            2 => Ok(Expected::Directory),
            _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    fn dress(&mut self) -> io::Result<Dress> {
        Ok(Dress {
            mode: self.requests.number()?,
            uid: self.requests.number()?,
            gid: self.requests.number()?,
        })
    }
}

impl Dress {
    /// The mode comes last: a change of owner takes bits of it away.
    fn put_on(&self, file: &OwnedFd) -> io::Result<()> {
        // SAFETY: the descriptor is open.
        unsafe {
            check(libc::fchown(file.as_raw_fd(), self.uid, self.gid))?;
            check(libc::fchmod(file.as_raw_fd(), self.mode & 0o7777)).map(drop)
        }
    }
}

impl Expected {
    fn is_met(&self, directory: RawFd, name: &CStr) -> io::Result<bool> {
        let found = match stat_at(directory, name) {
            Ok(found) => Some(found),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => return Err(error),
        };
        Ok(match (self, found) {
            (Expected::Nothing, found) => found.is_none(),
            (Expected::Entry(inode, changed), Some(stat)) => {
                (stat.st_ino, stat.st_ctime, stat.st_ctime_nsec) == (*inode, changed.tv_sec, changed.tv_nsec)
            }
            (Expected::Directory, Some(stat)) => stat.st_mode & libc::S_IFMT == libc::S_IFDIR,
            (_, None) => false,
        })
    }
}

fn overtaken() -> io::Error {
    io::Error::from_raw_os_error(libc::EEXIST)
}

/// Programs did something else there.
fn is_overtaken(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EEXIST | libc::ENOTDIR | libc::EISDIR | libc::ENOTEMPTY | libc::ELOOP)
    )
}

fn literal(bytes: &'static [u8]) -> io::Result<&'static CStr> {
    CStr::from_bytes_with_nul(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
