//! WriteFile: the content appears under its name only when all of it came, so a client that dies in the middle leaves the old
//! file as it was.

use super::error::Error;
use crate::sys;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 << 10;
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

pub fn write_file(path: &Path) -> Result<(), Error> {
    let target = resolve_links(path)?;
    let existing = match fs::metadata(&target) {
        Ok(meta) => Some(meta),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let names_directory = path.as_os_str().to_string_lossy().ends_with('/');
    if names_directory || existing.as_ref().map_or(false, Metadata::is_dir) {
        return Err(io::Error::from_raw_os_error(libc::EISDIR).into());
    }
    match existing {
        Some(meta) => replace(&target, &meta),
        None => create(&target),
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

fn create(target: &Path) -> Result<(), Error> {
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
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
        })?;
    let temporary = Temporary::create(directory, target)?;
    temporary.fill_from_stdin()?;
    temporary.rename(target)?;
    Ok(())
}

fn replace(target: &Path, existing: &Metadata) -> Result<(), Error> {
    // May this user write here at all? Told before the content comes. A running program is fine: it is replaced, not changed.
    let writable = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(target);
    match writable {
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {}
        Err(error) if existing.is_file() => return Err(error.into()),
        _ => {}
    }
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
    if !existing.is_file() {
        return stream_into(target);
    }
    let temporary = match Temporary::create(directory, target) {
        Ok(temporary) => temporary,
        // The directory takes no new files (/proc, a read-only directory with one file mounted in it), but the file itself is writable.
        Err(_) => return stream_into(target),
    };
    // Without the right to give files away the new one belongs to the writer.
    let _ = sys::give_to(temporary.file.as_raw_fd(), existing.uid(), existing.gid());
    temporary
        .file
        .set_permissions(fs::Permissions::from_mode(existing.mode() & 0o7777))?;
    temporary.fill_from_stdin()?;
    match temporary.rename(target) {
        Ok(()) => Ok(()),
        // A file that is itself a mount point, such as /etc/hosts, cannot be replaced, only rewritten.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EXDEV)) => temporary.rewrite(target),
        Err(error) => Err(error.into()),
    }
}

/// Devices, pipes and files that cannot be replaced.
fn stream_into(target: &Path) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).truncate(true).open(target)?;
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
    fn create(directory: &Path, target: &Path) -> io::Result<Temporary> {
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
                Ok(file) => return Ok(Temporary { path, file }),
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

    fn rewrite(&self, target: &Path) -> Result<(), Error> {
        let mut content = &self.file;
        content.seek(SeekFrom::Start(0))?;
        let file = OpenOptions::new().write(true).truncate(true).open(target)?;
        copy(&mut content, &file)?;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing under this name any more.
        let _ = fs::remove_file(&self.path);
    }
}
