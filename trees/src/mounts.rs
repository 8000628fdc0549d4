//! Trees in the mount namespace of a sandbox, put there and taken away while it runs.

use crate::failure::Failure;
use crate::namespace::{self, is_reserved};
use crate::sys::{c_string, check, clone_tree, mount_id, move_mount, statfs};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::io::{AsRawFd, RawFd};
use std::path::Path;

/// File systems that show the kernel, statfs(2): nothing can be put over their files, nor can these be copied.
const KERNELS: [i64; 7] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
];

pub fn is_kernels(fd: i32) -> bool {
    statfs(fd).map_or(false, |stat| KERNELS.contains(&(stat.f_type as i64)))
}

/// Shows a directory of the machine at a path that the sandbox's caller names, which is made when it is missing. Prints the mount's number and the
/// path without links.
pub fn show(directory: &OsStr, pid: &OsStr, path: &OsStr) -> Result<(), Failure> {
    mount(directory, pid, path, &|target, resolved| {
        !is_reserved(resolved) && !is_kernels(target)
    })
}

/// The same at a path of the server's.
pub fn attach(directory: &OsStr, pid: &OsStr, path: &OsStr) -> Result<(), Failure> {
    mount(directory, pid, path, &|_, _| true)
}

fn mount(directory: &OsStr, pid: &OsStr, path: &OsStr, may_be: &dyn Fn(RawFd, &[u8]) -> bool) -> Result<(), Failure> {
    let source = c_string(directory.as_bytes()).map_err(Failure::at("directory"))?;
    let tree = clone_tree(&source).map_err(Failure::at("open_tree"))?;
    let inside = namespace::enter(pid)?;
    let target = namespace::make_directory(path)?;
    let resolved = inside.resolve(target.as_raw_fd())?;
    let shown = String::from_utf8_lossy(&resolved).into_owned();
    if !may_be(target.as_raw_fd(), &resolved) {
        return Err(Failure::bad_path(format!("Nothing can be mounted at {shown}.")));
    }
    move_mount(tree.as_raw_fd(), target.as_raw_fd()).map_err(|error| Failure::of_path("mount", error))?;
    let id = mount_id(tree.as_raw_fd()).map_err(Failure::at("statx"))?;
    print!("{id} {shown}");
    Ok(())
}

/// Takes away what `show` put there, wherever its directory is called by now. One that is gone already is fine.
pub fn hide(pid: &OsStr, id: &OsStr) -> Result<(), Failure> {
    let table = Path::new("/proc").join(pid).join("mountinfo");
    let text = fs::read(&table).map_err(Failure::at("mountinfo"))?;
    let Some(path) = text
        .split(|byte| *byte == b'\n')
        .find_map(|line| place_of(line, id.as_bytes()))
    else {
        return Ok(());
    };
    namespace::enter(pid)?;
    let path = c_string(&path)?;
    // Lazily, since programs may stand in it.
    // SAFETY: the path outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) })
        .map_err(Failure::at("umount"))?;
    Ok(())
}

/// Where a line of mountinfo, proc_pid_mountinfo(5), says that the mount of that number is.
fn place_of(line: &[u8], id: &[u8]) -> Option<Vec<u8>> {
    let mut words = line.split(|byte| *byte == b' ');
    if words.next() != Some(id) {
        return None;
    }
    Some(unescape(words.nth(3)?))
}

/// Blanks, backslashes and ends of lines are octal in mountinfo.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = std::ffi::OsString::new().into_vec();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, octal.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_mount_by_its_number_whatever_its_directory_is_called() {
        let line = br"36 35 98:0 / /a\040b\134c\012d rw - overlay overlay rw";
        assert_eq!(place_of(line, b"36").as_deref(), Some(&b"/a b\\c\nd"[..]));
        assert_eq!(place_of(line, b"35"), None);
        assert_eq!(place_of(b"", b"36"), None);
    }
}
