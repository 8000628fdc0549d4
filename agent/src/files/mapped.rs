//! Files that programs write to through mappings, which their times need not show: proc_pid_maps(5).

use crate::mounts::unescape;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Those that are mapped now, as far as it can be seen: other users' programs do not show theirs.
pub fn files() -> HashSet<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let tables = processes.filter_map(|process| fs::read(process.path().join("maps")).ok());
    tables.flat_map(|table| parse(&table)).collect()
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
}
