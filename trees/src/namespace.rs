//! Inside a sandbox, as far as its files are concerned: in the mount namespace of one of its processes, with that one's root. There is no way back.

use crate::failure::Failure;
use crate::sys::{c_string, check, literal, openat, openat2};
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Whatever it leads through, a path must not use what /proc has as links but that are none: they lead to open files of other processes.
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// Longest path, path_resolution(7).
const PATH_MAX: usize = 4096;

/// What only the machine's own /proc tells: the sandbox's shows nothing of this program.
pub struct Inside {
    descriptors: OwnedFd,
}

impl Inside {
    /// The path of an open directory, without links.
    pub fn resolve(&self, directory: RawFd) -> Result<Vec<u8>, Failure> {
        let name = c_string(directory.to_string().as_bytes())?;
        let mut path = vec![0u8; 2 * PATH_MAX];
        let buffer = path.as_mut_ptr().cast();
        // SAFETY: the buffer's length is told.
        let length = unsafe { libc::readlinkat(self.descriptors.as_raw_fd(), name.as_ptr(), buffer, path.len()) };
        path.truncate(check(length as i32).map_err(Failure::at("readlink"))? as usize);
        Ok(path)
    }
}

/// Whether it is the root, or in what makes a sandbox one and is not its own.
pub fn is_reserved(path: &[u8]) -> bool {
    const KEPT: [&[u8]; 4] = [b"/proc", b"/sys", b"/dev", b"/__modal"];
    let is_in = |kept: &&[u8]| path.starts_with(kept) && matches!(path.get(kept.len()), None | Some(b'/'));
    path == b"/" || KEPT.iter().any(is_in)
}

/// Enters the mount namespace of the process, whose root becomes this program's, and its user namespace, if that has a root of its own: to that one
/// belongs what is made in there, and ids are those that the process knows.
pub fn enter(pid: &OsStr) -> Result<Inside, Failure> {
    let descriptors = openat(
        libc::AT_FDCWD,
        literal(b"/proc/self/fd\0"),
        libc::O_RDONLY | libc::O_DIRECTORY,
        0,
    )
    .map_err(Failure::at("/proc/self/fd"))?;
    let open = |what: &str, flags| {
        let path = c_string(&[b"/proc/", pid.as_bytes(), what.as_bytes()].concat())?;
        openat(libc::AT_FDCWD, &path, flags, 0)
    };
    let namespace = open("/ns/mnt", libc::O_RDONLY).map_err(Failure::at("mount namespace"))?;
    let users = open("/ns/user", libc::O_RDONLY).map_err(Failure::at("user namespace"))?;
    let has_own_users = has_own_users(pid)?;
    let root = open("/root", libc::O_PATH | libc::O_DIRECTORY).map_err(Failure::at("root"))?;
    // SAFETY: no memory is involved; the working directory is not shared with another thread, since there is none.
    unsafe {
        check(libc::unshare(libc::CLONE_FS)).map_err(Failure::at("unshare"))?;
        check(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)).map_err(Failure::at("setns"))?;
        check(libc::fchdir(root.as_raw_fd())).map_err(Failure::at("fchdir"))?;
        check(libc::chroot(literal(b".\0").as_ptr())).map_err(Failure::at("chroot"))?;
        if has_own_users {
            check(libc::setns(users.as_raw_fd(), libc::CLONE_NEWUSER)).map_err(Failure::at("setns"))?;
            become_root().map_err(Failure::at("root of the sandbox"))?;
        }
    }
    Ok(Inside { descriptors })
}

/// Enters a user namespace, with all rights there and none outside of it. This is still the machine's root, who has no id in there.
pub fn join_users(path: &OsStr) -> io::Result<()> {
    let users = openat(libc::AT_FDCWD, &c_string(path.as_bytes())?, libc::O_RDONLY, 0)?;
    // SAFETY: the descriptor is open.
    check(unsafe { libc::setns(users.as_raw_fd(), libc::CLONE_NEWUSER) }).map(drop)
}

/// Becomes the root of the user namespace that this is in.
pub fn become_root() -> io::Result<()> {
    // SAFETY: no memory is involved but the empty list of groups.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(0, 0, 0))?;
        check(libc::setresuid(0, 0, 0))?;
    }
    Ok(())
}

/// Whether root is another user of the machine for the process. gVisor's are in a user namespace too, but of the same root.
pub fn has_own_users(pid: &OsStr) -> Result<bool, Failure> {
    let map = Path::new("/proc").join(pid).join("uid_map");
    let text = fs::read_to_string(map).map_err(Failure::at("user namespace"))?;
    let mut words = text.split_ascii_whitespace();
    Ok(words.next() == Some("0") && words.next() != Some("0"))
}

/// Opens a directory by an absolute path inside.
pub fn open_directory(path: &OsStr, flags: i32) -> Result<OwnedFd, Failure> {
    let path = checked(path)?;
    openat2(libc::AT_FDCWD, &path, flags | libc::O_DIRECTORY, RESOLVE_NO_MAGICLINKS)
        .map_err(|error| Failure::of_path(&path.to_string_lossy(), error))
}

/// The same, where every directory that is missing on the way is made.
pub fn make_directory(path: &OsStr) -> Result<OwnedFd, Failure> {
    checked(path)?;
    let named = |error| Failure::of_path(&path.to_string_lossy(), error);
    let mut at = openat(libc::AT_FDCWD, literal(b"/\0"), libc::O_PATH | libc::O_DIRECTORY, 0).map_err(named)?;
    for part in path
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        at = step(&at, &c_string(part).map_err(named)?).map_err(named)?;
    }
    Ok(at)
}

fn step(at: &OwnedFd, name: &CString) -> io::Result<OwnedFd> {
    let open = |fd: RawFd| openat2(fd, name, libc::O_PATH | libc::O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
    match open(at.as_raw_fd()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            // SAFETY: the name outlives the call.
            check(unsafe { libc::mkdirat(at.as_raw_fd(), name.as_ptr(), 0o755) })?;
            open(at.as_raw_fd())
        }
        other => other,
    }
}

fn checked(path: &OsStr) -> Result<CString, Failure> {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") || bytes.len() >= PATH_MAX {
        return Err(Failure::bad_path(
            "The path must be absolute and shorter than 4096 bytes.".into(),
        ));
    }
    c_string(bytes).map_err(|error| Failure::of_path("path", error))
}
