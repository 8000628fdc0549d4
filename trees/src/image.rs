//! A file with an ext4 file system in it, mounted by a loop device that the kernel lets go of with the mount: nothing but the mount has to be taken away.

use crate::failure::Failure;
use crate::sys::{c_string, check, fstat, open, statfs};
use libc::c_ulong;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// linux/loop.h
const LOOP_CTL_GET_FREE: c_ulong = 0x4C82;
const LOOP_CONFIGURE: c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
/// Those of the file systems inside; smaller ones would rule direct I/O out on disks whose own are as large.
const BLOCK_SIZE: u32 = 4096;

/// `struct loop_info64`
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Somebody else may take the free device first.
const ATTEMPTS: usize = 64;

/// `_IOR('X', 125, __u32)`, as ext4 and others have it; the flag says that not even the journal is written.
const FS_IOC_SHUTDOWN: c_ulong = 0x8004_587D;
const SHUTDOWN_NO_LOG_FLUSH: u32 = 2;

/// Mounts the image at a directory, with these options of ext4.
pub fn mount(image: &OsStr, target: &OsStr, options: &OsStr) -> Result<(), Failure> {
    let file = open(image, libc::O_RDWR).map_err(Failure::at("image"))?;
    let (device, _open) = attach(&file).map_err(Failure::at("loop device"))?;
    let device = c_string(device.as_bytes())?;
    let target = c_string(target.as_bytes())?;
    let options = c_string(options.as_bytes())?;
    let kind = c_string(b"ext4")?;
    // SAFETY: all strings outlive the call.
    check(unsafe {
        libc::mount(
            device.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    })
    .map_err(Failure::at("mount"))?;
    Ok(())
}

/// Whose data are dropped instead of written. The kernel tells its log of each such file system as of a failure, so it is not done for a little.
const MUCH_BYTES: u64 = 32 << 20;

/// Unmounts it, without writing much that is in memory only: its file is to be removed. One that is not mounted is fine.
pub fn drop(image: &OsStr, target: &OsStr) -> Result<(), Failure> {
    let Ok(directory) = open(target, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW) else {
        return Ok(()); // never made
    };
    if is_of(&directory, image) && holds_much(&directory) {
        // SAFETY: the kernel reads the number, which outlives the call. A file system that does not know the call stays as it is.
        unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_SHUTDOWN as _, &SHUTDOWN_NO_LOG_FLUSH) };
    }
    std::mem::drop(directory);
    let target = c_string(target.as_bytes())?;
    for flags in [0, libc::MNT_DETACH] {
        // SAFETY: the path outlives the call.
        match check(unsafe { libc::umount2(target.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) }) {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => return Ok(()),
            Err(error) if flags == 0 && error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(Failure::from(("umount", error))),
        }
    }
    Ok(())
}

/// A loop device for the file, and what keeps it until something is mounted.
fn attach(file: &OwnedFd) -> io::Result<(String, OwnedFd)> {
    let control = open(OsStr::new("/dev/loop-control"), libc::O_RDWR)?;
    let config = LoopConfig {
        fd: file.as_raw_fd() as u32,
        block_size: BLOCK_SIZE,
        // SAFETY: numbers and arrays of numbers, for which zero is a value.
        info: LoopInfo {
            flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            ..unsafe { std::mem::zeroed() }
        },
        reserved: [0; 8],
    };
    let mut last = io::Error::from_raw_os_error(libc::EBUSY);
    for _ in 0..ATTEMPTS {
        // SAFETY: takes no argument.
        let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
        let path = format!("/dev/loop{number}");
        let device = open(OsStr::new(&path), libc::O_RDWR)?;
        // SAFETY: the structure is as the kernel expects it, and outlives the call.
        match check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &config) }) {
            Ok(_) => return Ok((path, device)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether a directory is on the file system in that image, by what the kernel says of its loop device: no other may be shut down.
fn is_of(directory: &OwnedFd, image: &OsStr) -> bool {
    let Ok(stat) = fstat(directory.as_raw_fd()) else {
        return false;
    };
    // SAFETY: they take a number apart.
    let (major, minor) = unsafe { (libc::major(stat.st_dev), libc::minor(stat.st_dev)) };
    let backing = fs::read(format!("/sys/dev/block/{major}:{minor}/loop/backing_file"));
    backing.map_or(false, |path| path.strip_suffix(b"\n") == Some(image.as_bytes()))
}

fn holds_much(directory: &OwnedFd) -> bool {
    statfs(directory.as_raw_fd()).map_or(true, |stat| {
        (stat.f_blocks - stat.f_bfree) * stat.f_bsize as u64 > MUCH_BYTES
    })
}
