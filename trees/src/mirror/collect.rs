//! What a sandbox changed comes here.

use super::state::{Both, Mark, State, UNSETTLED};
use super::UNFINISHED;
use crate::failure::Failure;
use crate::sys::fstat;
use crate::take::listing::{Entry, Listing};
use crate::take::target::{set_owner, Target};
use crate::take::wire::Wire;
use crate::take::{bytes, said, with_parents, AHEAD, TICK_NS};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::io::AsRawFd;
use std::thread;
use std::time::Duration;

pub fn collect<In: Read, Out: Write>(
    directory: &OsStr,
    state: &mut State,
    mut wire: Wire<In, Out>,
) -> Result<(), Failure> {
    let mut target = Target::open(directory).map_err(Failure::at("directory"))?;
    let mut listing = wire.listing()?;
    listing.entries.retain(|path, entry| {
        matches!(entry.kind(), libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK) && path != UNFINISHED
    });
    let changed = changed(&listing, state);
    bytes(&listing, &changed)?;
    // What is written within the tick of its last change would look the same.
    let is_fresh = |path: &Vec<u8>| {
        let entry = listing.entries.get(path);
        entry.map_or(false, |entry| (entry.changed - listing.began).abs() < TICK_NS)
    };
    if changed.iter().any(is_fresh) {
        thread::sleep(Duration::from_nanos(TICK_NS as u64));
    }
    let taken = Collector {
        target: &mut target,
        state,
        wire,
    }
    .take(&listing, &changed);
    // What was not whole when it failed.
    let cleared = target.unlink(UNFINISHED, false).map_err(Failure::at("directory"));
    taken.and(cleared)
}

/// What is not as it was, and all directories above.
fn changed(listing: &Listing, state: &State) -> BTreeSet<Vec<u8>> {
    let mut changed = BTreeSet::from([Vec::new()]);
    for (path, entry) in &listing.entries {
        let known = state.entries.get(path);
        let is_same = known.map_or(false, |known| known.there.is_same(&Mark::of_entry(entry)));
        if !is_same && !path.is_empty() {
            with_parents(path, &mut changed);
            changed.insert(path.clone());
        }
    }
    changed.remove(&Vec::new());
    changed
}

struct Collector<'a, In: Read, Out: Write> {
    target: &'a mut Target,
    state: &'a mut State,
    wire: Wire<In, Out>,
}

impl<In: Read, Out: Write> Collector<'_, In, Out> {
    fn take(mut self, listing: &Listing, changed: &BTreeSet<Vec<u8>>) -> Result<(), Failure> {
        self.forget_missing(listing)?;
        let mut asked: VecDeque<(&[u8], &Entry)> = VecDeque::new();
        for (path, entry) in changed.iter().filter_map(|path| listing.entries.get_key_value(path)) {
            match entry.kind() {
                libc::S_IFDIR => self.directory(path, entry)?,
                libc::S_IFLNK => {
                    let at = said(path);
                    self.target.plain(UNFINISHED, entry).map_err(&at)?;
                    self.finish(path, Mark::of_entry(entry))?;
                }
                _ => {
                    if asked.len() == AHEAD {
                        self.receive(&mut asked)?;
                    }
                    self.wire.ask(path)?;
                    asked.push_back((path, entry));
                }
            }
        }
        while !asked.is_empty() {
            self.receive(&mut asked)?;
        }
        Ok(())
    }

    /// What is gone there goes here; of directories those that others have nothing in.
    fn forget_missing(&mut self, listing: &Listing) -> Result<(), Failure> {
        let is_gone = |path: &Vec<u8>| !path.is_empty() && !listing.entries.contains_key(path);
        let gone: Vec<_> = self
            .state
            .entries
            .keys()
            .rev()
            .filter(|path| is_gone(path))
            .cloned()
            .collect();
        for path in gone {
            if let Some(both) = self.state.entries.remove(&path) {
                let is_directory = both.here.is_directory();
                self.target.unlink(&path, is_directory).map_err(said(&path))?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<(), Failure> {
        let at = said(path);
        let directory = self.target.begin(path, true).map_err(&at)?;
        let stat = fstat(directory.as_raw_fd()).map_err(&at)?;
        if (stat.st_mode, stat.st_uid, stat.st_gid) != (entry.mode, entry.uid, entry.gid) {
            set_owner(&directory, entry.uid, entry.gid, entry.mode).map_err(&at)?;
        }
        let here = Mark::of_stat(&fstat(directory.as_raw_fd()).map_err(&at)?);
        let there = Mark::of_entry(entry);
        self.state.entries.insert(path.to_vec(), Both { there, here });
        Ok(())
    }

    fn receive(&mut self, asked: &mut VecDeque<(&[u8], &Entry)>) -> Result<(), Failure> {
        let Some((path, listed)) = asked.pop_front() else {
            return Ok(());
        };
        self.wire.flush()?;
        let target = &mut self.target;
        let Some(given) = self.wire.given(path, listed, |_| target.begin(UNFINISHED, false))? else {
            // It is gone, or something else: the next look tells.
            return Ok(());
        };
        given.set_time().map_err(said(path))?;
        let mut there = Mark::of_entry(&given.entry);
        if (given.entry.changed, given.entry.inode) != (listed.changed, listed.inode) {
            there.changed = UNSETTLED;
        }
        self.finish(path, there)
    }

    /// Gives what is whole its place.
    fn finish(&mut self, path: &[u8], there: Mark) -> Result<(), Failure> {
        let at = said(path);
        self.target.rename(UNFINISHED, path).map_err(&at)?;
        let here = Mark::of_stat(&self.target.stat(path).map_err(&at)?);
        self.state.entries.insert(path.to_vec(), Both { there, here });
        Ok(())
    }
}
