//! One layer that, put in the place of several, shows the same: of what lies above each other the topmost is copied, and what hides something further down still does.
//! The layers are overlayfs's (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"), and nobody writes to them.

use crate::entry::{file_id, kind, names};
use crate::failure::Failure;
use crate::file::{attributes, regular, special, times, Place};
use crate::sys::{c_string, check, fstat, fstatat, literal, openat, raise_open_files, sync_filesystem};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
const OPAQUE: &CStr = literal(b"trusted.overlay.opaque\0");

/// Writes the layers, the lowest first, into a directory that is there and empty.
pub fn layers(target: &OsStr, layers: &[&OsStr]) -> Result<(), Failure> {
    raise_open_files();
    let open = |path: &OsStr| openat(libc::AT_FDCWD, &c_string(path.as_bytes())?, DIRECTORY, 0);
    let target = open(target).map_err(Failure::at("target"))?;
    let layers = layers.iter().rev().map(|path| open(path));
    let layers: Vec<OwnedFd> = layers.collect::<Result<_, _>>().map_err(Failure::at("layer"))?;
    let root = target.as_raw_fd();
    let mut merger = Merger {
        root,
        links: HashMap::new(),
        path: Vec::new(),
    };
    merger.directory(&layers, root, false)?;
    sync_filesystem(&target)?;
    Ok(())
}

struct Merger {
    root: RawFd,
    /// Where below the target the files with several names are.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Where below the target it is now; ends with a slash.
    path: Vec<u8>,
}

impl Merger {
    /// @param layers those that have it, the topmost first
    /// @param hides whether nothing below these layers is to be seen in it
    fn directory(&mut self, layers: &[OwnedFd], target: RawFd, hides: bool) -> io::Result<()> {
        let Some(top) = layers.first().map(AsRawFd::as_raw_fd) else {
            return Ok(());
        };
        let stat = fstat(top)?;
        attributes(top, target, &stat)?;
        if hides {
            set_opaque(target)?;
        }
        let mut done = HashSet::new();
        for (depth, layer) in layers.iter().enumerate() {
            for name in names(layer.as_raw_fd())? {
                if done.insert(name.clone()) {
                    self.entry(&layers[depth..], target, &name)?;
                }
            }
        }
        times(target, &stat)
    }

    /// @param layers the first has it
    fn entry(&mut self, layers: &[OwnedFd], target: RawFd, name: &CString) -> io::Result<()> {
        let source = layers[0].as_raw_fd();
        let stat = fstatat(source, name, 0)?;
        if kind(&stat) != libc::S_IFDIR {
            return self.file(source, target, name, &stat);
        }
        let mut inner = Vec::new();
        let mut hides = false;
        for layer in layers {
            let below = match fstatat(layer.as_raw_fd(), name, 0) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                other => other?,
            };
            if kind(&below) != libc::S_IFDIR {
                hides = true;
                break;
            }
            inner.push(openat(layer.as_raw_fd(), name, DIRECTORY, 0)?);
            if inner.last().map_or(false, |directory| is_opaque(directory.as_raw_fd())) {
                hides = true;
                break;
            }
        }
        // SAFETY: the name outlives the call.
        check(unsafe { libc::mkdirat(target, name.as_ptr(), 0o700) })?;
        let outer = openat(target, name, DIRECTORY, 0)?;
        let length = self.path.len();
        self.path.extend_from_slice(name.to_bytes());
        self.path.push(b'/');
        self.directory(&inner, outer.as_raw_fd(), hides)?;
        self.path.truncate(length);
        Ok(())
    }

    /// Anything but a directory, a whiteout too.
    fn file(&mut self, source: RawFd, target: RawFd, name: &CString, stat: &libc::stat) -> io::Result<()> {
        if let Some(path) = self.links.get(&file_id(stat)) {
            let path = c_string(path)?;
            // SAFETY: the names outlive the call.
            return check(unsafe { libc::linkat(self.root, path.as_ptr(), target, name.as_ptr(), 0) }).map(drop);
        }
        let (from, to) = (
            Place {
                directory: source,
                name,
            },
            Place {
                directory: target,
                name,
            },
        );
        if kind(stat) == libc::S_IFREG {
            let changed = || io::Error::new(io::ErrorKind::Other, "a layer changed");
            regular(from, to, stat, false)?.ok_or_else(changed)?;
        } else {
            special(from, to, stat)?;
        }
        if stat.st_nlink > 1 && kind(stat) != libc::S_IFSOCK {
            let path = [self.path.as_slice(), name.to_bytes()].concat();
            self.links.insert(file_id(stat), path);
        }
        Ok(())
    }
}

pub fn is_opaque(directory: RawFd) -> bool {
    let mut value = [0u8; 1];
    // SAFETY: the name ends with a zero and the buffer's length is told.
    let size = unsafe { libc::fgetxattr(directory, OPAQUE.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    size == 1 && value == *b"y"
}

fn set_opaque(directory: RawFd) -> io::Result<()> {
    // SAFETY: the name ends with a zero and the value's length is told.
    check(unsafe { libc::fsetxattr(directory, OPAQUE.as_ptr(), b"y".as_ptr().cast(), 1, 0) }).map(drop)
}
