//! A file system that a program serves. It belongs to the users who look at it: mounted from within their user namespace, it knows them by the ids that they know
//! themselves by, and nobody outside of that namespace comes into it, not even the machine's root.

use crate::child;
use crate::failure::Failure;
use crate::namespace;
use crate::sys::{check, fs_create, fs_mount, fs_open, fs_set, literal, openat, take_descriptor};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

/// Under which numbers the process that makes them has both. It opens nothing else there.
const DEVICE_FD: RawFd = 100;
const TREE_FD: RawFd = 101;
const NO_SET_USER_ID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const READ_ONLY: u64 = 0x1;

pub struct Fuse {
    /// What the program reads requests from and writes answers to.
    pub device: OwnedFd,
    /// Mounted nowhere.
    pub tree: OwnedFd,
}

/// Makes one. `users` is the path of a user namespace, or empty: then it is everybody's.
pub fn make(users: &OsStr, read_only: bool) -> Result<Fuse, Failure> {
    if users.is_empty() {
        return open(read_only).map_err(Failure::at("FUSE"));
    }
    child::beside(
        || {
            // The device is opened as the machine's root, whom it belongs to.
            namespace::join_users(users)?;
            // SAFETY: no memory is involved.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
            let made = open(read_only)?;
            for (made, number) in [(&made.device, DEVICE_FD), (&made.tree, TREE_FD)] {
                // SAFETY: the descriptor is open.
                check(unsafe { libc::dup3(made.as_raw_fd(), number, libc::O_CLOEXEC) })?;
            }
            Ok(())
        },
        |maker| {
            let take = |number| take_descriptor(maker, number).map_err(Failure::at("FUSE"));
            Ok(Fuse {
                device: take(DEVICE_FD)?,
                tree: take(TREE_FD)?,
            })
        },
    )
}

/// Waits until the program answers, or is gone.
pub fn await_answer(tree: &OwnedFd, users: &OsStr) -> io::Result<()> {
    child::by_another(|| {
        if !users.is_empty() {
            namespace::join_users(users)?;
            namespace::become_root()?;
        }
        openat(tree.as_raw_fd(), literal(b".\0"), libc::O_RDONLY | libc::O_DIRECTORY, 0).map(drop)
    })
}

fn open(read_only: bool) -> io::Result<Fuse> {
    let device = openat(libc::AT_FDCWD, literal(b"/dev/fuse\0"), libc::O_RDWR, 0)?;
    let context = fs_open(literal(b"fuse\0"))?;
    let number = crate::sys::c_string(device.as_raw_fd().to_string().as_bytes())?;
    let settings: [(&CStr, &CStr); 6] = [
        (literal(b"source\0"), literal(b"bucket\0")),
        (literal(b"subtype\0"), literal(b"bucket\0")),
        (literal(b"fd\0"), &number),
        (literal(b"rootmode\0"), literal(b"40000\0")),
        (literal(b"user_id\0"), literal(b"0\0")),
        (literal(b"group_id\0"), literal(b"0\0")),
    ];
    for (key, value) in settings {
        fs_set(&context, key, Some(value))?;
    }
    // The users of a sandbox are several; the kernel looks at the permissions of files, as it does everywhere.
    for key in [literal(b"allow_other\0"), literal(b"default_permissions\0")] {
        fs_set(&context, key, None)?;
    }
    if read_only {
        fs_set(&context, literal(b"ro\0"), None)?;
    }
    fs_create(&context)?;
    let tree = fs_mount(
        &context,
        NO_SET_USER_ID | NO_DEVICES | if read_only { READ_ONLY } else { 0 },
    )?;
    Ok(Fuse { device, tree })
}
