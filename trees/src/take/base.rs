//! What a sandbox began with: the files of its image, as its layers show them together (`merge.rs` has what overlayfs means by what is in them).

use super::listing::Entry;
use crate::entry::{kind, names};
use crate::merge::is_opaque;
use crate::sys::{c_string, fstat, fstatat, nanoseconds, openat};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, RawFd};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

struct File {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    device: u64,
    modified: i128,
    link: Vec<u8>,
}

pub struct Base {
    files: BTreeMap<Vec<u8>, File>,
}

impl Base {
    /// @param layers the lowest first
    pub fn of(layers: &[&OsStr]) -> io::Result<Base> {
        let mut base = Base { files: BTreeMap::new() };
        for layer in layers {
            let root = openat(libc::AT_FDCWD, &c_string(layer.as_bytes())?, DIRECTORY, 0)?;
            base.files
                .insert(Vec::new(), file(&fstat(root.as_raw_fd())?, Vec::new()));
            base.directory(root.as_raw_fd(), &mut Vec::new())?;
        }
        Ok(base)
    }

    pub fn paths(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.files.keys()
    }

    pub fn has_directory(&self, path: &[u8]) -> bool {
        let file = self.files.get(path);
        file.map_or(false, |file| file.mode & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Whether the image has the same at that path. Whatever a program changed since the sandbox began shows by its time; what it was renamed to, or was
    /// changed while the clock was wrong, by the rest.
    pub fn has(&self, path: &[u8], entry: &Entry, since: i128) -> bool {
        let Some(known) = self.files.get(path) else {
            return false;
        };
        let same = (known.mode, known.uid, known.gid) == (entry.mode, entry.uid, entry.gid);
        same && entry.changed < since
            && match entry.kind() {
                libc::S_IFREG => known.size == entry.size && is_same_time(known.modified, entry.modified),
                libc::S_IFLNK => known.link == entry.link,
                libc::S_IFCHR | libc::S_IFBLK => known.device == entry.device,
                _ => true,
            }
    }

    fn directory(&mut self, directory: RawFd, path: &mut Vec<u8>) -> io::Result<()> {
        let length = path.len();
        for name in names(directory)? {
            path.extend_from_slice(name.to_bytes());
            self.entry(directory, &name, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, directory: RawFd, name: &CStr, path: &mut Vec<u8>) -> io::Result<()> {
        let stat = fstatat(directory, name, 0)?;
        if kind(&stat) != libc::S_IFDIR {
            self.remove_below(path);
            self.files.remove(path.as_slice());
            if !is_whiteout(&stat) {
                let link = if kind(&stat) == libc::S_IFLNK {
                    link(directory, name, &stat)?
                } else {
                    Vec::new()
                };
                self.files.insert(path.clone(), file(&stat, link));
            }
            return Ok(());
        }
        let inner = openat(directory, name, DIRECTORY, 0)?;
        if is_opaque(inner.as_raw_fd()) {
            self.remove_below(path);
        }
        self.files.insert(path.clone(), file(&stat, Vec::new()));
        path.push(b'/');
        self.directory(inner.as_raw_fd(), path)
    }

    fn remove_below(&mut self, path: &[u8]) {
        let from = [path, b"/"].concat();
        let to = [path, b"0"].concat(); // the character after the slash
        let below: Vec<_> = self.files.range(from..to).map(|(path, _)| path.clone()).collect();
        for path in below {
            self.files.remove(&path);
        }
    }
}

fn is_whiteout(stat: &libc::stat) -> bool {
    kind(stat) == libc::S_IFCHR && stat.st_rdev == 0
}

fn file(stat: &libc::stat, link: Vec<u8>) -> File {
    File {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: stat.st_size as u64,
        device: stat.st_rdev,
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        link,
    }
}

fn link(directory: RawFd, name: &CStr, stat: &libc::stat) -> io::Result<Vec<u8>> {
    let mut link = vec![0u8; stat.st_size.max(0) as usize + 1];
    // SAFETY: the buffer's length is told, and the name outlives the call.
    let length = unsafe { libc::readlinkat(directory, name.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    link.truncate(crate::sys::check(length as i32)? as usize);
    Ok(link)
}

/// A node may keep whole seconds of what it fetched.
fn is_same_time(image: i128, sandbox: i128) -> bool {
    const SECOND: i128 = 1_000_000_000;
    image == sandbox || (sandbox % SECOND == 0 && image.div_euclid(SECOND) == sandbox / SECOND)
}
