//! ReadFile.

use super::error::{Error, Kind};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Names the bytes a client may read at once: the server keeps all of them until they are read, and says how much it keeps of a sandbox.
const LIMIT_VARIABLE: &str = "SKERRY_READ_LIMIT";
/// For a server that says nothing.
const DEFAULT_LIMIT: u64 = 2 << 30;
const BUFFER: usize = 256 << 10;

/// No more than `most` bytes, nor than the server keeps. Regular files only: a pipe waits for whoever writes into it, and a device may have no end.
pub fn read_file(path: &Path, most: Option<u64>) -> Result<(), Error> {
    // Opening must not wait either.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => not_regular(), // a socket
        _ => error.into(),
    })?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR).into());
    }
    if !meta.is_file() {
        return Err(not_regular());
    }
    let limit = most.map_or(read_limit(), |most| most.min(read_limit()));
    if meta.len() > limit {
        return Err(too_large(limit));
    }
    copy(file, limit)
}

fn read_limit() -> u64 {
    std::env::var(LIMIT_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_LIMIT)
}

fn not_regular() -> Error {
    Error::new(Kind::InvalidPath, "Not a regular file")
}

fn too_large(limit: u64) -> Error {
    Error::new(
        Kind::FileTooLarge,
        &format!("The file is larger than {} MiB", limit >> 20),
    )
}

/// Copies to stdout. Files of /proc have no size, so the limit holds here as well.
fn copy(mut file: File, limit: u64) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    let mut stdout = io::stdout().lock();
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        total += count as u64;
        if total > limit {
            return Err(too_large(limit));
        }
        stdout.write_all(&buffer[..count])?;
    }
    stdout.flush()?;
    Ok(())
}
