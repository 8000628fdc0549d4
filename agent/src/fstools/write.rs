//! WriteFile: the content appears under its name only when all of it came, so a client that dies in the middle leaves the old
//! file as it was.

use super::error::Error;
use crate::sys;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};

const BUFFER: usize = 256 << 10;
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// A new file takes the name: readers see the old content or the new, a link is replaced and not followed, the other names of the
/// old file keep the old content. With `through` it is what `open` for writing does: the file that the name leads to gets
/// the content, and keeps its mode, its owner and its other names.
pub fn write_file(path: &Path, through: bool) -> Result<(), Error> {
    let existing = match fs::metadata(path) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        // A link that leads nowhere is a name like any other to a new file.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) && !through => None,
        Err(error) => return Err(error.into()),
    };
    let names_directory = path.as_os_str().to_string_lossy().ends_with('/');
    match existing {
        _ if names_directory => Err(io::Error::from_raw_os_error(libc::EISDIR).into()),
        Some(meta) if meta.is_dir() => Err(io::Error::from_raw_os_error(libc::EISDIR).into()),
        // Devices and pipes: their names stay theirs.
        Some(meta) if !meta.is_file() => stream_into(path),
        Some(_) if through => write_through(path),
        Some(_) => replace(path, true),
        None if through => replace(&resolve_links(path)?, false),
        None => replace(path, false),
    }
}

/// The place a chain of symbolic links ends at, which need not exist.
fn resolve_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or_else(|| Path::new("/")).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn replace(path: &Path, exists: bool) -> Result<(), Error> {
    make_parents(path)?;
    let temporary = match Temporary::create(path) {
        Ok(temporary) => temporary,
        Err(error) if exists && takes_no_new_files(&error) => return stream_into(path),
        Err(error) => return Err(error.into()),
    };
    temporary.fill_from_stdin()?;
    match temporary.rename(path) {
        Ok(()) => Ok(()),
        // A file that is itself a mount point, such as /etc/hosts, cannot be replaced, only rewritten.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV)) => temporary.rewrite(path),
        Err(error) => Err(error.into()),
    }
}

fn write_through(path: &Path) -> Result<(), Error> {
    // May this user write here at all? Told before the content comes.
    OpenOptions::new().write(true).open(path)?;
    match Temporary::create(&resolve_links(path)?) {
        Ok(temporary) => {
            temporary.fill_from_stdin()?;
            temporary.rewrite(path)
        }
        Err(error) if takes_no_new_files(&error) => stream_into(path),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is the directory that refuses (/proc, a read-only directory with one file mounted in it): a file in it may still be
/// writable.
fn takes_no_new_files(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT | libc::EOPNOTSUPP)
    )
}

fn has_no_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

fn make_parents(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|error| {
            // A component that is a file.
            let code = if error.kind() == ErrorKind::AlreadyExists {
                libc::ENOTDIR
            } else {
                error.raw_os_error().unwrap_or(libc::EIO)
            };
            io::Error::from_raw_os_error(code)
        })
}

/// Devices, pipes and files that cannot be replaced. A pipe that nobody reads from is told, and not waited for.
fn stream_into(target: &Path) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(target)?;
    sys::set_blocking(&file)?;
    copy(&mut io::stdin().lock(), &file)?;
    Ok(())
}

fn copy(from: &mut impl Read, mut to: &File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file beside the target that is removed again unless it took the target's name.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> io::Result<Temporary> {
        let directory = target.parent().unwrap_or_else(|| Path::new("/"));
        if target.file_name().is_none() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        // A name that is too long for the target must fail now, not after the content came.
        if let Err(error) = fs::symlink_metadata(target) {
            if error.raw_os_error() == Some(libc::ENAMETOOLONG) {
                return Err(error);
            }
        }
        for attempt in 0..100 {
            let path = directory.join(format!(".skerry-write-{}-{}", std::process::id(), attempt));
            match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&path)
            {
                Ok(file) => {
                    remove_when_killed(&path);
                    return Ok(Temporary { path, file });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EEXIST))
    }

    fn fill_from_stdin(&self) -> io::Result<()> {
        copy(&mut io::stdin().lock(), &self.file)
    }

    fn rename(&self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }

    /// Nothing of what the target holds goes before there is room for all of the new content.
    fn rewrite(&self, target: &Path) -> Result<(), Error> {
        let mut content = &self.file;
        let size = content.stream_position()?;
        content.seek(SeekFrom::Start(0))?;
        let file = OpenOptions::new().write(true).open(target)?;
        let before = file.metadata()?.len();
        match sys::reserve(&file, size) {
            Err(error) if has_no_room(&error) => {
                file.set_len(before)?;
                return Err(error.into());
            }
            // Not every file system can.
            _ => copy(&mut content, &file)?,
        }
        file.set_len(size)?;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing under this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// What the signal handler removes; set once.
static UNFINISHED: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

/// A writer that is told to end, since its content will not come, leaves nothing behind either.
fn remove_when_killed(path: &Path) {
    if let Ok(path) = CString::new(path.as_os_str().as_bytes()) {
        // Never freed: a handler may read it at any time.
        UNFINISHED.store(path.into_raw(), Ordering::SeqCst);
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
            sys::on_signal(signal, remove_unfinished);
        }
    }
}

extern "C" fn remove_unfinished(signal: libc::c_int) {
    let path = UNFINISHED.load(Ordering::SeqCst);
    // SAFETY: both calls may be made in a signal handler; the path is a C string that is never freed.
    unsafe {
        if !path.is_null() {
            libc::unlink(path);
        }
        libc::_exit(128 + signal);
    }
}
