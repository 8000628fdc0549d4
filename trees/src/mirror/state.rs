//! What both had when they last were alike.

use crate::sys::nanoseconds;
use crate::take::listing::Entry;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

/// Tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub inode: u64,
    /// Nanoseconds after 1970. Of a file that may have changed since: a time that none has.
    pub changed: i64,
}

/// It is looked at again.
pub const UNSETTLED: i64 = i64::MIN;

impl Mark {
    pub fn of_entry(entry: &Entry) -> Mark {
        Mark {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            inode: entry.inode,
            changed: entry.changed as i64,
        }
    }

    /// Of a file of this machine. Its inode may be another after a restart.
    pub fn of_stat(stat: &libc::stat) -> Mark {
        Mark {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            inode: 0,
            changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec) as i64,
        }
    }

    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// A directory changes with each name in it: what it has of its own is looked at.
    pub fn is_same(&self, other: &Mark) -> bool {
        let own = |mark: &Mark| (mark.mode, mark.uid, mark.gid);
        own(self) == own(other) && (self.is_directory() || (self.inode, self.changed) == (other.inode, other.changed))
    }
}

#[derive(Clone, Copy)]
pub struct Both {
    pub there: Mark,
    pub here: Mark,
}

#[derive(Default)]
pub struct State {
    pub entries: BTreeMap<Vec<u8>, Both>,
}

impl State {
    /// An empty one where none was written.
    pub fn read(path: &OsStr) -> io::Result<State> {
        let mut state = State::default();
        let mut input = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(state),
            Err(error) => return Err(error),
        };
        loop {
            let mut length = [0u8; 2];
            match input.read_exact(&mut length) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(state),
                other => other?,
            }
            let mut path = vec![0u8; usize::from(u16::from_le_bytes(length))];
            input.read_exact(&mut path)?;
            let there = mark(&mut input)?;
            let here = mark(&mut input)?;
            state.entries.insert(path, Both { there, here });
        }
    }

    /// Whole or not at all.
    pub fn write(&self, path: &OsStr) -> io::Result<()> {
        let mut temporary = OsString::from(path);
        temporary.push(".new");
        let mut out = BufWriter::new(File::create(&temporary)?);
        for (path, Both { there, here }) in &self.entries {
            // No path is longer than 4096 bytes.
            out.write_all(&(path.len() as u16).to_le_bytes())?;
            out.write_all(path)?;
            for each in [there, here] {
                for number in [each.mode, each.uid, each.gid] {
                    out.write_all(&number.to_le_bytes())?;
                }
                out.write_all(&each.inode.to_le_bytes())?;
                out.write_all(&each.changed.to_le_bytes())?;
            }
        }
        out.into_inner().map_err(|error| error.into_error())?;
        fs::rename(&temporary, path)
    }
}

fn mark(input: &mut impl Read) -> io::Result<Mark> {
    Ok(Mark {
        mode: u32::from_le_bytes(array(input)?),
        uid: u32::from_le_bytes(array(input)?),
        gid: u32::from_le_bytes(array(input)?),
        inode: u64::from_le_bytes(array(input)?),
        changed: i64::from_le_bytes(array(input)?),
    })
}

fn array<const LENGTH: usize>(input: &mut impl Read) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0u8; LENGTH];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}
