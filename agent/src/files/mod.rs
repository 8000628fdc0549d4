//! `skerry-agent files PATH [SEEN-AT BELOW]...`: gives the server the files of its sandbox, where nobody can take them from outside: what there is, and of that what is
//! asked for. Below `/__modal/.volumes` it also brings what the server has for the sandbox. It keeps nothing in mind, since it has the sandbox's memory: the server
//! compares and decides. PROTOCOL.md, "Files", has what is said.

mod directory;
mod give;
mod mapped;
mod put;
mod requests;
mod still;
mod walk;
mod wire;

use directory::Directory;
use mapped::Place;
use put::Put;
use requests::Requests;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use still::Still;
use wire::Wire;

/// What is no file of the sandbox's, nor below it.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/__modal"];
/// But for what the server brought: a directory for each volume.
const VOLUMES: &str = "/__modal/.volumes";

/// @param arguments the directory, then where else in the sandbox directories below it are seen
pub fn main(arguments: &[OsString]) -> i32 {
    let Some((path, places)) = arguments.split_first() else {
        return 2;
    };
    let mut wire = Wire::new();
    match serve(Path::new(path), &Place::all(places), &mut wire) {
        Ok(()) => 0,
        Err(error) => {
            // Whoever does not listen any more knows.
            let _ = wire.failure(&error);
            1
        }
    }
}

fn serve(path: &Path, places: &[Place], wire: &mut Wire) -> io::Result<()> {
    raise_open_files();
    let path = path.canonicalize()?;
    if is_reserved(&path) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let mut root = Directory::open(&path)?;
    let mut still: Option<Still> = None;
    let mut requests = Requests::new(io::stdin().lock());
    while let Some(request) = requests.next()? {
        match request {
            b'L' => walk::list(&root, &path, places, wire)?,
            b'G' => give::give(&mut root, &requests.text()?, wire)?,
            b'S' => {
                still = Some(Still::begin()?);
                wire.byte(b's')?;
            }
            b'C' => wire.byte(if still.take().map_or(false, Still::end) {
                b'k'
            } else {
                b'x'
            })?,
            b'D' | b'F' | b'K' | b'R' if path.starts_with(VOLUMES) => Put {
                root: &mut root,
                requests: &mut requests,
            }
            .answer(request, wire)?,
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
        wire.flush()?;
    }
    Ok(())
}

fn is_reserved(path: &Path) -> bool {
    RESERVED.iter().any(|kept| path.starts_with(kept)) && !path.starts_with(VOLUMES)
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
