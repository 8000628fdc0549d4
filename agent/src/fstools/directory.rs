//! ListFiles, Stat and MakeDirectory.

use super::entry::Describer;
use super::error::Error;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// A JSON array of the direct children, sorted by name.
pub fn list_files(path: &Path) -> Result<(), Error> {
    let mut names = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    let mut describer = Describer::new();
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut separator = "[";
    for name in names {
        let child = path.join(&name);
        match fs::symlink_metadata(&child) {
            Ok(meta) => {
                write!(
                    out,
                    "{}{}",
                    separator,
                    describer.describe(&name.to_string_lossy(), &child, &meta)
                )?;
                separator = ",";
            }
            // Removed since its name was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let end = if separator == "[" { "[]\n" } else { "]\n" };
    out.write_all(end.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// One JSON entry; of a symbolic link itself, not of its target.
pub fn stat(path: &Path) -> Result<(), Error> {
    let meta = fs::symlink_metadata(path)?;
    let name = path
        .file_name()
        .map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let entry = Describer::new().describe(&name, path, &meta);
    writeln!(io::stdout(), "{}", entry)?;
    Ok(())
}

pub fn make_directory(path: &Path, parents: bool) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(parents)
        .mode(0o755)
        .create(path)
        .map_err(|error| {
            // A file in the place of a parent; a file in the place of the directory itself is left as it is.
            match error.raw_os_error() {
                Some(libc::EEXIST) if parents && fs::symlink_metadata(path).is_err() => {
                    io::Error::from_raw_os_error(libc::ENOTDIR)
                }
                _ => error,
            }
        })?;
    Ok(())
}
