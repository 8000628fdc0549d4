//! `/dev` of a sandbox with ids of its own. In a user namespace nobody makes a node of a device, and the machine's nodes belong to nobody there: so its file system
//! is made here, with nodes that belong to its root, and shown to it.

use crate::failure::Failure;
use crate::ids::first_id;
use crate::sys::{c_string, check, literal};
use std::ffi::{CStr, OsStr};
use std::fs::{set_permissions, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, lchown, symlink, PermissionsExt};
use std::path::Path;

/// What runtimes put into every `/dev` (the OCI runtime specification, "Default Devices"): names and numbers of character devices.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Set after the node is made, whatever the umask.
const MODE: u32 = 0o666;

/// Mounts it at an empty directory. Everything in it belongs to `first`, which is id 0 of the sandbox.
pub fn make(first: &OsStr, directory: &OsStr) -> Result<(), Failure> {
    let first = first_id(first)?;
    let data = format!("mode=755,size=64m,uid={first},gid={first}");
    mount(&c_string(directory.as_bytes())?, &c_string(data.as_bytes())?)?;
    let directory = Path::new(directory);
    for (name, major, minor) in NODES {
        let path = directory.join(name);
        let text = c_string(path.as_os_str().as_bytes())?;
        // SAFETY: the path outlives the call.
        check(unsafe { libc::mknod(text.as_ptr(), libc::S_IFCHR, libc::makedev(major, minor)) })
            .map_err(Failure::at(name))?;
        set_permissions(&path, Permissions::from_mode(MODE)).map_err(Failure::at(name))?;
        chown(&path, Some(first), Some(first)).map_err(Failure::at(name))?;
    }
    for (name, target) in LINKS {
        let path = directory.join(name);
        symlink(target, &path).map_err(Failure::at(name))?;
        lchown(&path, Some(first), Some(first)).map_err(Failure::at(name))?;
    }
    Ok(())
}

/// Devices can be used in it, as what is mounted in a user namespace would not allow.
fn mount(target: &CStr, data: &CStr) -> Result<(), Failure> {
    let kind = literal(b"tmpfs\0");
    let flags = libc::MS_NOSUID | libc::MS_STRICTATIME;
    // SAFETY: the strings outlive the call.
    check(unsafe {
        libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
    .map_err(Failure::at("mount"))?;
    Ok(())
}
