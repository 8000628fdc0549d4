//! What there is below a directory, each with what tells whether it was changed.

use super::directory::{link_at, names_in, open_directory, stat_at, Directory};
use super::mapped::{self, Place};
use super::wire::Wire;
use super::{is_reserved, joined};
use crate::mounts;
use crate::sys;
use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// Longest path, path_resolution(7): more than that no program can name.
const MAX_PATH: usize = 4096;
const EMPTY: &[u8] = b"\0";

struct Walk<'a> {
    top: &'a Path,
    /// What is mounted belongs to others, unless only a directory was asked for.
    mounts: HashSet<PathBuf>,
    /// What is written to without its times showing it counts as changed now.
    mapped: HashSet<PathBuf>,
    now: libc::timespec,
    wire: &'a mut Wire,
}

pub fn list(root: &Directory, top: &Path, places: &[Place], wire: &mut Wire) -> io::Result<()> {
    let now = sys::time(libc::CLOCK_REALTIME_COARSE); // of files, which lies a moment behind
    wire.byte(b'T')?;
    wire.time(now.tv_sec, now.tv_nsec)?;
    let mounts = if top == Path::new("/") {
        mounts::points()
    } else {
        HashSet::new()
    };
    let empty = CStr::from_bytes_with_nul(EMPTY).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    wire.entry(b"", &stat_at(root.fd(), empty)?, b"")?;
    let mut walk = Walk {
        top,
        mounts,
        mapped: mapped::files(top, places),
        now,
        wire,
    };
    walk.directory(root.fd(), &mut Vec::new())?;
    wire.byte(b'.')
}

impl Walk<'_> {
    /// @param path of the directory, below the top, with a slash at its end unless it is that
    fn directory(&mut self, directory: RawFd, path: &mut Vec<u8>) -> io::Result<()> {
        let length = path.len();
        for name in names_in(directory)? {
            path.extend_from_slice(name.to_bytes());
            match self.entry(directory, &name, path) {
                // Whatever goes away meanwhile is not there.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {}
                other => other?,
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, directory: RawFd, name: &CStr, path: &mut Vec<u8>) -> io::Result<()> {
        if path.len() >= MAX_PATH {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        let place = joined(self.top, path);
        if is_reserved(&place) {
            return self.wire.covered(path, false);
        }
        if self.mounts.contains(&place) {
            let stat = stat_at(directory, name)?;
            return self.wire.covered(path, stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
        }
        let mut stat = stat_at(directory, name)?;
        if self.mapped.contains(&place) {
            (stat.st_ctime, stat.st_ctime_nsec) = (self.now.tv_sec, self.now.tv_nsec);
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFLNK => {
                let link = link_at(directory, name)?;
                self.wire.entry(path, &stat, &link)
            }
            libc::S_IFDIR => {
                let inner = open_directory(directory, name)?;
                self.wire.entry(path, &stat, b"")?;
                path.push(b'/');
                self.directory(inner.as_raw_fd(), path)
            }
            _ => self.wire.entry(path, &stat, b""),
        }
    }
}
