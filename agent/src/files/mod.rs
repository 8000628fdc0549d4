//! `skerry-agent files PATH`: gives the server the files of its sandbox, where nobody can take them from outside: what there is, and of that what is asked for.
//! It keeps nothing in mind, since it has the sandbox's memory: the server compares and decides. PROTOCOL.md, "Files", has what is said.

mod directory;
mod give;
mod mapped;
mod still;
mod walk;
mod wire;

use directory::Directory;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use still::Still;
use wire::Wire;

/// What is no file of the sandbox's, nor below it.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/__modal"];

pub fn main(path: Option<&OsString>) -> i32 {
    let Some(path) = path.map(Path::new) else { return 2 };
    let mut wire = Wire::new();
    match serve(path, &mut wire) {
        Ok(()) => 0,
        Err(error) => {
            // Whoever does not listen any more knows.
            let _ = wire.failure(&error);
            1
        }
    }
}

fn serve(path: &Path, wire: &mut Wire) -> io::Result<()> {
    raise_open_files();
    let path = path.canonicalize()?;
    if is_reserved(&path) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let mut root = Directory::open(&path)?;
    let mut still: Option<Still> = None;
    let mut input = io::stdin().lock();
    loop {
        let mut request = [0u8];
        if input.read(&mut request)? == 0 {
            return Ok(());
        }
        match request[0] {
            b'L' => walk::list(&root, &path, wire)?,
            b'G' => {
                let mut length = [0u8; 2];
                input.read_exact(&mut length)?;
                let mut name = vec![0u8; usize::from(u16::from_le_bytes(length))];
                input.read_exact(&mut name)?;
                give::give(&mut root, &name, wire)?;
            }
            b'S' => {
                still = Some(Still::begin()?);
                wire.byte(b's')?;
            }
            b'C' => wire.byte(if still.take().map_or(false, Still::end) {
                b'k'
            } else {
                b'x'
            })?,
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
        wire.flush()?;
    }
}

fn is_reserved(path: &Path) -> bool {
    RESERVED.iter().any(|kept| path.starts_with(kept))
}

/// Where a path below a directory is.
fn joined(directory: &Path, below: &[u8]) -> PathBuf {
    directory.join(std::ffi::OsStr::from_bytes(below))
}

/// One stays open for each level of directories.
fn raise_open_files() {
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
