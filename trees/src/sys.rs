//! The system calls the standard library has no word for, each wrapped once: errors become `io::Error`, every descriptor is close-on-exec.

use libc::{c_int, c_long, c_uint};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Says that a call is about the descriptor itself.
pub const EMPTY: &CStr = literal(b"\0");

/// A C string of the program's own; the zero at the end must be there.
pub const fn literal(text: &'static [u8]) -> &'static CStr {
    assert!(text[text.len() - 1] == 0);
    // SAFETY: looked at above; no text of the program's own has another.
    unsafe { CStr::from_bytes_with_nul_unchecked(text) }
}

/// Turns the -1 convention into a `Result`.
pub fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    check(result as c_int)?;
    // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}

pub fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

pub fn openat(directory: RawFd, name: &CStr, flags: c_int, mode: c_uint) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string that outlives the call.
    owned(unsafe { libc::openat(directory, name.as_ptr(), flags | libc::O_CLOEXEC, mode) } as c_long)
}

pub fn open(path: &OsStr, flags: c_int) -> io::Result<OwnedFd> {
    openat(libc::AT_FDCWD, &c_string(path.as_bytes())?, flags, 0)
}

/// Mounts a directory or a file at another place as well.
pub fn bind(from: &CStr, to: &CStr) -> io::Result<()> {
    // SAFETY: the strings outlive the call.
    check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    })
    .map(drop)
}

/// openat2(2): `resolve` says what a path may lead through.
pub fn openat2(directory: RawFd, path: &CStr, flags: c_int, resolve: u64) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let how = OpenHow {
        flags: (flags | libc::O_CLOEXEC) as u64,
        mode: 0,
        resolve,
    };
    // SAFETY: the path and the structure outlive the call, whose size is told.
    owned(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory,
            path.as_ptr(),
            &how,
            std::mem::size_of::<OpenHow>(),
        )
    })
}

pub fn fstat(fd: RawFd) -> io::Result<libc::stat> {
    fstatat(fd, EMPTY, libc::AT_EMPTY_PATH)
}

pub fn fstatat(directory: RawFd, name: &CStr, flags: c_int) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the kernel fills the structure when it answers 0.
    unsafe {
        check(libc::fstatat(
            directory,
            name.as_ptr(),
            stat.as_mut_ptr(),
            flags | libc::AT_SYMLINK_NOFOLLOW,
        ))?;
        Ok(stat.assume_init())
    }
}

/// What kind of file system it is on and what is in that, statfs(2).
pub fn statfs(fd: RawFd) -> io::Result<libc::statfs> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills the structure when it answers 0.
    unsafe {
        check(libc::fstatfs(fd, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

/// The number of the mount that a descriptor is on, as in /proc/PID/mountinfo.
pub fn mount_id(fd: RawFd) -> io::Result<u64> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the kernel fills the structure when it answers 0.
    let stat = unsafe {
        check(libc::statx(
            fd,
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_MNT_ID,
            stat.as_mut_ptr(),
        ))?;
        stat.assume_init()
    };
    Ok(stat.stx_mnt_id)
}

/// A copy of what is mounted, or of a directory, which is mounted nowhere yet.
pub fn clone_tree(path: &CStr) -> io::Result<OwnedFd> {
    open_tree(path, 0)
}

/// The same, with all that is mounted in it.
pub fn clone_tree_with_mounts(path: &CStr) -> io::Result<OwnedFd> {
    open_tree(path, libc::AT_RECURSIVE as c_uint)
}

fn open_tree(path: &CStr, flags: c_uint) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: c_uint = 1;
    // SAFETY: the path outlives the call.
    owned(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            OPEN_TREE_CLONE | libc::O_CLOEXEC as c_uint | flags,
        )
    })
}

/// pipe2(2): the end to read from, and the one to write to.
pub fn pipe(flags: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the kernel fills the array when it answers 0; then both are open and nobody else's.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), flags))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Mounts what `clone_tree` gave on an open directory.
pub fn move_mount(tree: RawFd, directory: RawFd) -> io::Result<()> {
    const FROM_EMPTY_PATH: c_uint = 0x4;
    const TO_EMPTY_PATH: c_uint = 0x40;
    let flags = FROM_EMPTY_PATH | TO_EMPTY_PATH;
    // SAFETY: the empty paths are constants.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            EMPTY.as_ptr(),
            directory,
            EMPTY.as_ptr(),
            flags,
        )
    };
    check(result as c_int).map(drop)
}

/// Begins a file system, fsopen(2).
pub fn fs_open(kind: &CStr) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: c_uint = 1;
    // SAFETY: the name outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Sets a parameter of one that was begun, fsconfig(2): a flag where there is no value.
pub fn fs_set(context: &OwnedFd, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
    const SET_FLAG: c_uint = 0;
    const SET_STRING: c_uint = 1;
    fs_config(
        context,
        if value.is_some() { SET_STRING } else { SET_FLAG },
        Some(key),
        value,
    )
}

/// Makes it, with what was set.
pub fn fs_create(context: &OwnedFd) -> io::Result<()> {
    const CREATE: c_uint = 6;
    fs_config(context, CREATE, None, None)
}

fn fs_config(context: &OwnedFd, command: c_uint, key: Option<&CStr>, value: Option<&CStr>) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: both strings outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    };
    check(result as c_int).map(drop)
}

/// What was made, mounted nowhere yet, fsmount(2). `attributes` are those of mount_setattr(2).
pub fn fs_mount(context: &OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: c_uint = 1;
    // SAFETY: no memory is involved.
    owned(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes as c_uint,
        )
    })
}

/// An open file of another process, which has it under that number, pidfd_getfd(2).
pub fn take_descriptor(process: libc::pid_t, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the new descriptors are nobody else's.
    unsafe {
        let process = owned(libc::syscall(libc::SYS_pidfd_open, process, 0))?;
        owned(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0))
    }
}

/// Gives what `clone_tree` gave the ids of a user namespace: what is owned by one of that is shown as owned by what it stands for, mount_setattr(2).
pub fn map_ids(tree: &OwnedFd, namespace: &OwnedFd) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        namespace: u64,
    }
    let attributes = MountAttributes {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        namespace: namespace.as_raw_fd() as u64,
    };
    // SAFETY: the structure outlives the call, which is told its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes,
            std::mem::size_of::<MountAttributes>(),
        )
    };
    check(result as c_int).map(drop)
}

pub fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// Unix time.
pub fn now() -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    nanoseconds(time.tv_sec, time.tv_nsec)
}

pub fn sync_filesystem(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }).map(drop)
}

/// As many open files as there may be: each level of directories holds some. What cannot be raised is found out by a directory that is too deep.
pub fn raise_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives the calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}
