//! Where the program of a command is, as execvp(3) finds it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A name without a slash is looked for in the command's own PATH. A relative directory in there is nobody's: it is left out.
pub fn find(name: &OsStr, variables: &[Vec<u8>]) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let mut missing = io::Error::from_raw_os_error(libc::ENOENT);
    let path = variables.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
    for directory in std::env::split_paths(OsStr::from_bytes(path.unwrap_or(b"/bin:/usr/bin"))) {
        let program = directory.join(name);
        if directory.is_relative() || name.is_empty() {
            continue;
        }
        match std::fs::metadata(&program) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => return Ok(program),
            Ok(_) => missing = io::Error::from_raw_os_error(libc::EACCES),
            Err(_) => {}
        }
    }
    Err(missing)
}
