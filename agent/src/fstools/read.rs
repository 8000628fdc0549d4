//! ReadFile.

use super::error::{Error, Kind};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Bytes a client may read at once. All of it has to fit into what the server keeps of a sandbox's output, and into the client's memory.
pub const READ_LIMIT: u64 = 2 << 30;
const BUFFER: usize = 256 << 10;

pub fn read_file(path: &Path) -> Result<(), Error> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR).into());
    }
    if meta.len() > READ_LIMIT {
        return Err(too_large());
    }
    copy(file, READ_LIMIT)
}

fn too_large() -> Error {
    Error::new(Kind::FileTooLarge, "The file is larger than 2 GiB")
}

/// Copies to stdout. Files of /proc have no size and devices no end, so the limit holds here as well.
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
            return Err(too_large());
        }
        stdout.write_all(&buffer[..count])?;
    }
    stdout.flush()?;
    Ok(())
}
