//! Settle: what only Skerry asks for, before it copies the files of a sandbox from outside. A kernel of the sandbox's own (gVisor) keeps
//! part of them to itself: what was written through a mapping, the latest times, and FIFOs altogether. The first two are written out, the
//! FIFOs listed.

use super::error::{Error, Kind};
use crate::mounts;
use crate::sys;
use serde_json::{json, Value};
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// More than any program has use for; each costs the one who copies a few processes.
const MOST_FIFOS: usize = 1000;

pub fn settle(root: &Path) -> Result<(), Error> {
    // SAFETY: takes and returns nothing.
    unsafe { libc::sync() };
    let fifos = fifos_below(root)?;
    writeln!(io::stdout(), "{}", Value::Array(fifos))?;
    Ok(())
}

/// Makes FIFOs that an image brought along anew, as they were: gVisor can use those of its own alone.
pub fn remake_fifos(paths: Option<&Value>) -> Result<(), Error> {
    let paths = paths.and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    for path in paths.iter().filter_map(Value::as_str).map(Path::new) {
        // A layer above may have something else there, or nothing.
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.file_type().is_fifo() => remake(path, &meta)?,
            _ => {}
        }
    }
    Ok(())
}

fn remake(path: &Path, meta: &Metadata) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    let around = fs::symlink_metadata(directory)?;
    fs::remove_file(path)?;
    sys::make_fifo(path)?;
    sys::change_owner(path, meta.uid(), meta.gid())?;
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    sys::set_modified(path, meta.mtime(), meta.mtime_nsec())?;
    sys::set_modified(directory, around.mtime(), around.mtime_nsec())
}

/// The FIFOs of the file system that `root` is on, as far as their names are text.
fn fifos_below(root: &Path) -> Result<Vec<Value>, Error> {
    let mounts = mounts::points();
    let mut fifos = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(directory) = todo.pop() {
        let found_before = fifos.len();
        // Whatever goes away meanwhile is not there.
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            match kind {
                Ok(kind) if kind.is_dir() && !mounts.contains(&path) => todo.push(path),
                Ok(kind) if kind.is_fifo() => {
                    if let (Some(name), Ok(meta)) = (path.to_str(), fs::symlink_metadata(&path)) {
                        fifos.push(describe(name, &meta));
                    }
                }
                _ => {}
            }
        }
        if fifos.len() > found_before {
            // To put a FIFO there from outside changes the time of its directory.
            let time = fs::symlink_metadata(&directory).map(|meta| time_of(&meta));
            for fifo in &mut fifos[found_before..] {
                fifo["directoryMtime"] = json!(time.as_ref().map_or("0.000000000", String::as_str));
            }
        }
        if fifos.len() > MOST_FIFOS {
            let message = format!("There are more than {} FIFOs", MOST_FIFOS);
            return Err(Error::new(Kind::Io, &message));
        }
    }
    Ok(fifos)
}

fn describe(path: &str, meta: &Metadata) -> Value {
    json!({
        "path": path,
        "mode": meta.mode() & 0o7777,
        "uid": meta.uid(),
        "gid": meta.gid(),
        "mtime": time_of(meta),
    })
}

/// Seconds after 1970.
fn time_of(meta: &Metadata) -> String {
    format!("{}.{:09}", meta.mtime(), meta.mtime_nsec())
}
