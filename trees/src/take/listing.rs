//! What a sandbox says that it has.

use super::wire::broken;
use crate::failure::Failure;
use std::collections::{BTreeMap, HashSet};

/// As many as any archive may have (`server/src/images/layers/read-tar.ts`).
const MAX_ENTRIES: usize = 1_000_000;
/// Of all paths and links together: all of it is kept in memory.
const MAX_TEXT: usize = 128 << 20;
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;

#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u64,
    pub size: u64,
    pub device: u64,
    pub modified: i128,
    pub changed: i128,
    pub link: Vec<u8>,
    pub on: u64,
    pub inode: u64,
}

impl Entry {
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether there is nothing more to it than was said.
    pub fn is_plain(&self) -> bool {
        matches!(self.kind(), libc::S_IFLNK | libc::S_IFIFO)
    }

    pub fn has_other_names(&self) -> bool {
        !self.is_directory() && self.links > 1
    }

    /// What tells names of one file.
    pub fn id(&self) -> (u64, u64) {
        (self.on, self.inode)
    }

    pub fn bytes(&self) -> u64 {
        if self.kind() == libc::S_IFREG {
            self.size
        } else {
            0
        }
    }
}

#[derive(Default)]
pub struct Listing {
    /// By the clock of its files.
    pub began: i128,
    /// By paths below the top, which itself is empty.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// Where something else is mounted: what lies below cannot be seen.
    pub covered: HashSet<Vec<u8>>,
    /// Those of them that are directories, and not of every sandbox.
    pub mounts: Vec<Vec<u8>>,
    /// Bytes of paths and links so far.
    text: usize,
}

impl Listing {
    pub fn begun(at: i128) -> Listing {
        Listing {
            began: at,
            ..Listing::default()
        }
    }

    pub fn add(&mut self, path: Vec<u8>, entry: Entry) -> Result<(), Failure> {
        let is_top = path.is_empty();
        if is_top != self.entries.is_empty() || (is_top && !entry.is_directory()) {
            return Err(broken());
        }
        if !is_top {
            self.check(&path)?;
        }
        let is_link = entry.kind() == libc::S_IFLNK;
        if is_link == entry.link.is_empty() || entry.link.len() >= MAX_PATH || entry.link.contains(&0) {
            return Err(broken());
        }
        self.text += path.len() + entry.link.len();
        self.entries.insert(path, entry);
        self.bound()
    }

    pub fn cover(&mut self, path: Vec<u8>, by_directory: bool) -> Result<(), Failure> {
        self.check(&path)?;
        self.text += path.len();
        if by_directory {
            self.text += path.len();
            self.mounts.push(path.clone());
        }
        self.covered.insert(path);
        self.bound()
    }

    /// A path below the top whose directory was listed before.
    fn check(&self, path: &[u8]) -> Result<(), Failure> {
        let is_name = |name: &[u8]| {
            !name.is_empty() && name.len() <= MAX_NAME && name != b"." && name != b".." && !name.contains(&0)
        };
        let parent = self.entries.get(super::parent(path));
        if path.len() < MAX_PATH
            && path.split(|byte| *byte == b'/').all(is_name)
            && parent.map_or(false, Entry::is_directory)
        {
            return Ok(());
        }
        Err(broken())
    }

    fn bound(&self) -> Result<(), Failure> {
        if self.text > MAX_TEXT {
            return Err(Failure::bad_path(format!(
                "The names of the sandbox's files have more than {} MiB, which is too much.",
                MAX_TEXT >> 20
            )));
        }
        if self.entries.len() + self.covered.len() <= MAX_ENTRIES {
            return Ok(());
        }
        Err(Failure::bad_path(format!(
            "The sandbox has more than {MAX_ENTRIES} files, which are too many."
        )))
    }
}
