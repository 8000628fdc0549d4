//! Mounts inside a sandbox whose kernel has its own (gVisor): the server puts a tree where only this program looks for it, and has it shown at a path. It is
//! run with the capability for that, which no other program of the sandbox has.

use crate::mounts::unescape;
use crate::sys::check;
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Exit codes, those of `skerry-trees`: the path cannot be used, there is nothing at it.
const BAD_PATH: i32 = 3;
const NO_PATH: i32 = 4;
/// Where nothing can be mounted, nor below it.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/__modal"];

/// Shows the directory `source` at `path` too, which is made when it is missing, and prints the path without links.
pub fn bind(source: Option<&OsString>, path: Option<&OsString>) -> i32 {
    let (Some(source), Some(path)) = (source, path) else {
        return 2;
    };
    answer(show(Path::new(source), Path::new(path)).map(|resolved| print!("{}", resolved.to_string_lossy())))
}

/// Takes away what shows the directory `source` elsewhere, wherever that is by now.
pub fn unbind(source: Option<&OsString>) -> i32 {
    let Some(source) = source else { return 2 };
    answer(hide(Path::new(source)))
}

fn answer(result: io::Result<()>) -> i32 {
    let Err(error) = result else { return 0 };
    eprintln!("{error}");
    match error.raw_os_error() {
        Some(libc::ENOENT) => NO_PATH,
        Some(
            libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG | libc::EACCES | libc::EEXIST | libc::EPERM | libc::EROFS,
        ) => BAD_PATH,
        _ => 1,
    }
}

fn show(source: &Path, path: &Path) -> io::Result<PathBuf> {
    // Reads the way to it step by step, as the kernel does: `..` is above what a link leads to.
    let mut resolved = PathBuf::from("/");
    for part in path.components().skip(1) {
        let next = resolved.join(part);
        if let Err(error) = fs::metadata(&next) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir(&next)?;
        }
        resolved = fs::canonicalize(&next)?;
    }
    if !fs::metadata(&resolved)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    if resolved == Path::new("/") || RESERVED.iter().any(|kept| resolved.starts_with(kept)) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let (from, to) = (c_string(source)?, c_string(&resolved)?);
    // SAFETY: the paths outlive the call, which looks at nothing else.
    check(unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    })?;
    Ok(resolved)
}

fn hide(source: &Path) -> io::Result<()> {
    let (Some(below), Some(name)) = (source.parent(), source.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    // Of each mount: what of its file system it shows, and where.
    let rows = || {
        table
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| words.len() > 5)
    };
    let Some(device) = rows()
        .find(|words| Path::new(words[4]) == below)
        .map(|words| words[2].to_owned())
    else {
        return Ok(());
    };
    let shown = Path::new("/").join(name);
    for words in rows().filter(|words| words[2] == device && Path::new(words[3]) == shown) {
        let path = CString::new(unescape(words[4].as_bytes()))?;
        // SAFETY: the path outlives the call. Lazily, since programs may stand in it.
        check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })?;
    }
    Ok(())
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
