//! Where something is mounted in the sandbox, as the fifth field of each line of mountinfo says: proc_pid_mountinfo(5).

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

pub fn points() -> HashSet<PathBuf> {
    parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

fn parse(mountinfo: &[u8]) -> HashSet<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect()
}

/// Blanks, backslashes and ends of lines are octal there.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut parts = text.split(|byte| *byte == b'\\');
    plain.extend(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                plain.push(code);
                plain.extend(&part[3..]);
            }
            None => {
                plain.push(b'\\');
                plain.extend(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mount_points() {
        let text = b"36 35 98:0 / / rw - overlay o rw\n37 36 0:5 /a /with\\040space rw,x - tmpfs t rw\nbroken\n";
        let expected = ["/", "/with space"].iter().map(PathBuf::from).collect();
        assert_eq!(parse(text), expected);
    }
}
