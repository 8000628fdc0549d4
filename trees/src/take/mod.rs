//! Takes the files of a sandbox that nobody can look into from outside: a program in it (`skerry-agent files`, agent/PROTOCOL.md) says what there is, this one
//! compares that with the layers of the sandbox's image, asks for what is not as it is there, and writes the layer that makes up for it.
//!
//! Two passes: the first takes the bulk while programs run, the second what changed since, while they stand still. All that it hears is of the sandbox, and hostile.

mod base;
pub mod listing;
pub mod target;
pub mod wire;

use crate::failure::Failure;
use crate::sys::raise_open_files;
use base::Base;
use listing::{Entry, Listing};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::OsStr;
use std::io::{self, Stdin, Stdout};
use target::Target;
use wire::{broken, Wire};

/// How far the times of files lie behind the clock at most: a tick of a slow one, twice.
pub const TICK_NS: i128 = 20_000_000;
/// What the files of a layer may hold together, holes included, which archives of it have: as any archive (`server/src/images/layers/read-tar.ts`).
pub const MAX_BYTES: u64 = 64 << 30;
/// What is asked for before an answer was read.
pub const AHEAD: usize = 64;
/// What is no more than this is not taken while programs run: it is taken quickly when they stand still.
const SHORT_BYTES: u64 = 4 << 20;
const SHORT_FILES: usize = 100;

/// Writes what differs from the layers, the lowest first, into a directory that is there and empty. Without layers everything is different.
/// @param since when the sandbox began, in nanoseconds after 1970: what changed in it has a later time
pub fn take(target: &OsStr, since: &OsStr, layers: &[&OsStr]) -> Result<(), Failure> {
    raise_open_files();
    let since = since.to_str().and_then(|text| text.parse().ok());
    let since: i128 = since.ok_or_else(|| Failure::usage("no time"))?;
    let mut taker = Taker {
        base: Base::of(layers).map_err(Failure::at("layer"))?,
        since,
        target: Target::open(target).map_err(Failure::at("target"))?,
        wire: Wire::new(io::stdin(), io::stdout()),
        has: BTreeMap::new(),
    };
    let listing = taker.list()?;
    let wanted = taker.wanted(&listing);
    if bytes(&listing, &wanted)? > SHORT_BYTES || wanted.len() > SHORT_FILES {
        taker.fetch(&listing, &wanted, i128::MAX)?;
    }
    taker.wire.stand_still()?;
    let last = taker.list()?;
    let wanted = taker.wanted(&last);
    bytes(&last, &wanted)?;
    taker.fetch(&last, &wanted, listing.began - TICK_NS)?;
    taker.wire.go_on()?;
    taker.finish(&last, &wanted)
}

/// @throws when there are more than a layer may have
pub fn bytes(listing: &Listing, wanted: &BTreeSet<Vec<u8>>) -> Result<u64, Failure> {
    let entries = wanted.iter().filter_map(|path| listing.entries.get(path));
    let bytes = entries.fold(0u64, |sum, entry| sum.saturating_add(entry.bytes()));
    if bytes <= MAX_BYTES {
        return Ok(bytes);
    }
    Err(Failure::bad_path(
        "The sandbox changed more than 64 GiB of files, holes included, which is too much to be taken at once.".into(),
    ))
}

struct Taker {
    base: Base,
    since: i128,
    target: Target,
    wire: Wire<Stdin, Stdout>,
    /// What was written, as it was listed then.
    has: BTreeMap<Vec<u8>, Entry>,
}

impl Taker {
    fn list(&mut self) -> Result<Listing, Failure> {
        let mut listing = self.wire.listing()?;
        let base = &self.base;
        // A layer has no sockets, and no devices but those that the image brought along.
        listing.entries.retain(|path, entry| match entry.kind() {
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK | libc::S_IFIFO => true,
            libc::S_IFCHR | libc::S_IFBLK => base.has(path, entry, i128::MAX),
            _ => false,
        });
        Ok(listing)
    }

    /// The paths of what the layer must have, parents first: what is not as in the image, what is missing that was there, and all directories above.
    fn wanted(&self, listing: &Listing) -> BTreeSet<Vec<u8>> {
        let mut wanted = BTreeSet::from([Vec::new()]);
        for (path, entry) in &listing.entries {
            if !self.base.has(path, entry, self.since) {
                with_parents(path, &mut wanted);
                wanted.insert(path.clone());
            }
        }
        for path in self.missing(listing).chain(self.mount_points(listing)) {
            with_parents(path, &mut wanted);
        }
        wanted
    }

    /// What the image has, in a directory that is still there, and the sandbox has not.
    fn missing<'a>(&'a self, listing: &'a Listing) -> impl Iterator<Item = &'a Vec<u8>> + 'a {
        self.base.paths().filter(move |path| {
            let parent = listing.entries.get(parent(path));
            !path.is_empty()
                && parent.map_or(false, Entry::is_directory)
                && !listing.entries.contains_key(*path)
                && !listing.covered.contains(*path)
        })
    }

    /// Where something is mounted that the image had no place for: a program that runs in the next sandbox may look for the directory.
    fn mount_points<'a>(&'a self, listing: &'a Listing) -> impl Iterator<Item = &'a Vec<u8>> + 'a {
        listing.mounts.iter().filter(move |path| !self.base.has_directory(path))
    }

    /// Writes what the target does not have already.
    /// @param recent what changed at that time or later may have changed again after it was written
    fn fetch(&mut self, listing: &Listing, wanted: &BTreeSet<Vec<u8>>, recent: i128) -> Result<(), Failure> {
        let gone: Vec<_> = self
            .has
            .keys()
            .filter(|path| !wanted.contains(*path))
            .cloned()
            .collect();
        for path in gone.iter().rev() {
            self.has.remove(path);
            self.target.remove(path).map_err(said(path))?;
        }
        // Files with several names have one content: it comes for the first of them.
        let mut first: HashMap<(u64, u64), &[u8]> = HashMap::new();
        let mut links: Vec<(&[u8], &[u8])> = Vec::new();
        let mut plain: Vec<(&[u8], &Entry)> = Vec::new();
        let mut asked: VecDeque<(&[u8], &Entry)> = VecDeque::new();
        for (path, entry) in wanted.iter().filter_map(|path| listing.entries.get_key_value(path)) {
            let other = if entry.has_other_names() {
                first.get(&entry.id())
            } else {
                None
            };
            if let Some(other) = other {
                links.push((other, path));
                continue;
            }
            if entry.has_other_names() {
                first.insert(entry.id(), path);
            }
            if self
                .has
                .get(path)
                .map_or(false, |had| had == entry && entry.changed < recent)
            {
                continue;
            }
            if entry.is_plain() {
                plain.push((path, entry));
                continue;
            }
            if asked.len() == AHEAD {
                self.receive(&mut asked)?;
            }
            self.wire.ask(path)?;
            asked.push_back((path, entry));
        }
        while !asked.is_empty() {
            self.receive(&mut asked)?;
        }
        // Now all directories are there.
        for (path, entry) in plain {
            self.target.plain(path, entry).map_err(said(path))?;
            self.has.insert(path.to_vec(), entry.clone());
        }
        for (other, path) in links {
            // What it is another name of may have gone meanwhile.
            if self.has.contains_key(other) {
                self.target.link(other, path).map_err(said(path))?;
                let entry = listing.entries.get(path).cloned();
                self.has.extend(entry.map(|entry| (path.to_vec(), entry)));
            }
        }
        Ok(())
    }

    fn receive(&mut self, asked: &mut VecDeque<(&[u8], &Entry)>) -> Result<(), Failure> {
        let Some((path, entry)) = asked.pop_front() else {
            return Ok(());
        };
        self.wire.flush()?;
        let target = &mut self.target;
        let given = self
            .wire
            .given(path, entry, |found| target.begin(path, found.is_directory()))?;
        if let Some(given) = given {
            let at = said(path);
            given.set_attributes().map_err(&at)?;
            given.set_time().map_err(&at)?;
            self.has.insert(path.to_vec(), entry.clone());
        }
        Ok(())
    }

    /// The marks of what is missing, and the times of directories, which change with each entry that is made.
    fn finish(&mut self, listing: &Listing, wanted: &BTreeSet<Vec<u8>>) -> Result<(), Failure> {
        let missing: Vec<_> = self.missing(listing).cloned().collect();
        for path in missing {
            self.target.whiteout(&path).map_err(said(&path))?;
        }
        let places: Vec<_> = self.mount_points(listing).cloned().collect();
        for path in places {
            let at = said(&path);
            let place = self.target.begin(&path, true).map_err(&at)?;
            target::set_owner(&place, 0, 0, 0o755).map_err(&at)?;
        }
        for (path, entry) in wanted
            .iter()
            .rev()
            .filter_map(|path| listing.entries.get_key_value(path))
        {
            if entry.is_directory() {
                self.target.directory_time(path, entry).map_err(said(path))?;
            }
        }
        Ok(self.target.sync()?)
    }
}

pub fn said(path: &[u8]) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| match error.raw_os_error() {
        // The sandbox said one thing, and then another.
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV) => broken(),
        _ => Failure::from((String::from_utf8_lossy(path).as_ref(), error)),
    }
}

pub fn parent(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

pub fn with_parents(path: &[u8], wanted: &mut BTreeSet<Vec<u8>>) {
    let mut above = parent(path);
    while wanted.insert(above.to_vec()) {
        above = parent(above);
    }
}
