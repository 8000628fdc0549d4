//! Starts beside many others. What starts a container reads its whole table of mounts again and again, and copies it; in that of the machine every sandbox has several lines. So
//! there is a mount namespace that has none of theirs, and each start is in a copy of it, with what that one needs brought along.

use crate::child;
use crate::failure::Failure;
use crate::sys::{bind, c_string, check, clone_tree_with_mounts, fstat, literal, move_mount, open};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes a mount namespace that has what is mounted on the machine, now and later, but nothing of what is mounted at a directory or below it; something must be mounted at
/// it. It lasts as long as it is mounted at `place`, a file.
pub fn keep(directory: &OsStr, place: &OsStr) -> Result<(), Failure> {
    let directory = c_string(directory.as_bytes())?;
    let place = c_string(place.as_bytes())?;
    child::beside(
        || {
            enter_copy()?;
            // SAFETY: the string outlives the call.
            check(unsafe {
                libc::mount(
                    std::ptr::null(),
                    literal(b"/\0").as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_SLAVE,
                    std::ptr::null(),
                )
            })?;
            detach(&directory)?;
            while detach(&directory).is_ok() {}
            Ok(())
        },
        |child| {
            let from = c_string(format!("/proc/{child}/ns/mnt").as_bytes())?;
            bind(&from, &place).map_err(Failure::at("mount namespace"))
        },
    )
}

/// Becomes the command in a copy of the namespace that is kept at `place`, which goes with the last process in it. There these paths are what they are here, with all
/// that is mounted in them; in the namespace that is kept each must be a directory or file too. None is in another.
pub fn run(place: &OsStr, paths: &[&OsStr], command: &[&OsStr]) -> Result<(), Failure> {
    let namespace = open(place, libc::O_RDONLY).map_err(Failure::at("mount namespace"))?;
    let trees = paths
        .iter()
        .map(|path| clone_tree_with_mounts(&c_string(path.as_bytes())?))
        .collect::<io::Result<Vec<OwnedFd>>>()
        .map_err(Failure::at("open_tree"))?;
    let root = root().map_err(Failure::at("/"))?;
    // SAFETY: the descriptor is open.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }).map_err(Failure::at("setns"))?;
    if self::root().map_err(Failure::at("/"))? != root {
        return Err(Failure::refused(
            "the root directory is not that of the mount namespace".into(),
        ));
    }
    enter_copy().map_err(Failure::at("unshare"))?;
    for (tree, path) in trees.iter().zip(paths) {
        let target = open(path, libc::O_PATH | libc::O_NOFOLLOW).map_err(Failure::at("target"))?;
        move_mount(tree.as_raw_fd(), target.as_raw_fd()).map_err(Failure::at("move_mount"))?;
    }
    let [program, arguments @ ..] = command else {
        return Err(Failure::usage("there is no command"));
    };
    Err(Failure::from(("exec", Command::new(program).args(arguments).exec())))
}

/// Takes away what is mounted at a directory last, with all that is mounted in it.
fn detach(directory: &CStr) -> io::Result<()> {
    // SAFETY: the string outlives the call.
    check(unsafe { libc::umount2(directory.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }).map(drop)
}

fn enter_copy() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map(drop)
}

/// Which directory is the root of this program.
fn root() -> io::Result<(u64, u64)> {
    let stat = fstat(open(OsStr::new("/"), libc::O_PATH)?.as_raw_fd())?;
    Ok((stat.st_dev, stat.st_ino))
}
