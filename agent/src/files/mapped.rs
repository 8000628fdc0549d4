//! Files that programs write to through mappings, which their times need not show: proc_pid_maps(5).

use crate::mounts::unescape;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where a directory below the top is seen as well: programs map its files by that name.
pub struct Place {
    at: PathBuf,
    below: PathBuf,
}

impl Place {
    /// @param arguments pairs of both
    pub fn all(arguments: &[OsString]) -> Vec<Place> {
        let place = |pair: &[OsString]| Place {
            at: PathBuf::from(&pair[0]),
            below: PathBuf::from(&pair[1]),
        };
        arguments.chunks_exact(2).map(place).collect()
    }

    fn in_top(&self, path: &Path, top: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.at).ok()?;
        Some(top.join(&self.below).join(rest))
    }
}

/// Those that are mapped now, as far as it can be seen: other users' programs do not show theirs.
pub fn files(top: &Path, places: &[Place]) -> HashSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tables = processes.filter_map(|process| fs::read(process.path().join("maps")).ok());
    let mut files: HashSet<PathBuf> = tables.flat_map(|table| parse(&table)).collect();
    let others: Vec<_> = places
        .iter()
        .flat_map(|place| files.iter().filter_map(|path| place.in_top(path, top)))
        .collect();
    files.extend(others);
    files
}

fn parse(maps: &[u8]) -> Vec<PathBuf> {
    maps.split(|byte| *byte == b'\n').filter_map(path_of).collect()
}

/// `RANGE rw-s OFFSET DEVICE INODE   PATH`, which is absolute where there is one.
fn path_of(line: &[u8]) -> Option<PathBuf> {
    let rights = line.split(|byte| *byte == b' ').nth(1)?;
    if !rights.contains(&b'w') || !rights.contains(&b's') {
        return None;
    }
    let path = &line[line.iter().position(|byte| *byte == b'/')?..];
    Some(PathBuf::from(OsString::from_vec(unescape(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_shared_mappings_that_can_be_written_to() {
        let maps = b"7f01-7f02 rw-s 00000000 00:2a 123      /data/a b\\012c\n\
            7f03-7f04 r--s 00000000 00:2a 124 /data/read\n\
            7f05-7f06 rw-p 00000000 00:2a 125 /data/own\n\
            7f07-7f08 rw-s 00000000 00:00 0 \n";
        assert_eq!(parse(maps), [PathBuf::from("/data/a b\nc")]);
    }

    #[test]
    fn knows_a_directory_by_the_name_that_programs_have_for_it() {
        let places = Place::all(&["/data".into(), "sub".into()]);
        let top = Path::new("/top");
        assert_eq!(
            places[0].in_top(Path::new("/data/a"), top),
            Some(PathBuf::from("/top/sub/a"))
        );
        assert_eq!(places[0].in_top(Path::new("/database"), top), None);
    }
}
