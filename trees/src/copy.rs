//! A copy of a tree as it is at one moment, for which its programs stand still as shortly as can be: pass after pass takes what changed since the
//! one before, while they run; the last one, while they stand still, takes what little is left.
//!
//! Where it is known what programs do meanwhile (`watch.rs`), only the first pass looks at every file.
//!
//! The caller is told `ready` when the last pass would be short, says `final` once everything stands still, and is told `done` when it may go on.

use crate::entry::{file_id, kind, names, remove, Stamp};
use crate::failure::Failure;
use crate::file::{attributes, regular, special, times, Place};
use crate::ids;
use crate::mounts::is_kernels;
use crate::namespace::{self, is_reserved};
use crate::sys::{c_string, check, fstat, fstatat, literal, now, openat, raise_open_files, sync_filesystem};
use crate::watch::{Watch, Watcher};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const MAX_PASSES: u32 = 8;
/// A pass that took no more than this makes the next one the last.
const SHORT_BYTES: i64 = 4 << 20;
const SHORT_FILES: u64 = 100;
/// How far the times of files lie behind the clock at most: a tick of a slow one, twice.
const TICK_NS: i128 = 20_000_000;
/// Deeper than any path that a program can name.
const MAX_DEPTH: u32 = 2100;
const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// What was copied to one name.
struct Node {
    stamp: Stamp,
    /// Nothing had changed it since before it was copied: it must be copied again only when its stamp is another.
    settled: bool,
    /// Whatever happens to it will be heard, so it need not be looked at.
    quiet: bool,
    seen: u32,
    directory: Option<Box<Directory>>,
}

struct Directory {
    stat: libc::stat,
    children: HashMap<CString, Node>,
    watch: Option<Watch>,
    /// Nothing had changed it since before its names were read.
    settled: bool,
    /// Which of its files are looked at in every pass, since not all that happens to them is heard.
    loud: Vec<CString>,
    directories: Vec<CString>,
}

impl Directory {
    fn new(stat: libc::stat) -> Directory {
        Directory {
            stat,
            children: HashMap::new(),
            watch: None,
            settled: false,
            loud: Vec::new(),
            directories: Vec::new(),
        }
    }

    /// What has to be looked at though nothing is heard.
    fn remember(&mut self) {
        let (directories, files): (Vec<_>, Vec<_>) =
            self.children.iter().partition(|(_, child)| child.directory.is_some());
        self.directories = directories.into_iter().map(|(name, _)| name.clone()).collect();
        let loud = files.into_iter().filter(|(_, child)| !child.quiet);
        self.loud = loud.map(|(name, _)| name.clone()).collect();
    }
}

struct Copier {
    target: OwnedFd,
    pass: u32,
    /// Everything stands still, and there is no pass after this one.
    last: bool,
    /// When this pass began.
    began: i128,
    /// Where below the target the files with several names are that this pass copied, and whether every later change of them shows.
    links: HashMap<(u64, u64), (Vec<u8>, bool)>,
    /// Where below the target it is now; ends with a slash.
    path: Vec<u8>,
    bytes: i64,
    files: u64,
    watcher: Option<Watcher>,
    /// What happened until this pass began.
    heard: HashMap<Watch, HashSet<CString>>,
}

/// Copies a directory of the machine to one that is there and empty.
/// @param overlay where programs see the directory, when it is the writable layer of an overlay
pub fn tree(directory: &OsStr, target: &OsStr, overlay: Option<&OsStr>) -> Result<(), Failure> {
    let target = open_target(target)?;
    let source = c_string(directory.as_bytes()).map_err(Failure::at("directory"))?;
    let source = openat(libc::AT_FDCWD, &source, DIRECTORY, 0).map_err(Failure::at("directory"))?;
    // Without a watch each pass looks at every file.
    run(&source, target, overlay.and_then(|root| Watcher::new(root).ok()))
}

/// The same with a directory as a process of a sandbox sees it, with all that is mounted in it.
pub fn inside(pid: &OsStr, path: &OsStr, target: &OsStr) -> Result<(), Failure> {
    // It belongs to the ids that are known inside, which on disk are the same.
    let target = open_target_of(pid, target)?;
    let inside = namespace::enter(pid)?;
    let source = namespace::open_directory(path, libc::O_RDONLY)?;
    if is_reserved(&inside.resolve(source.as_raw_fd())?) || is_kernels(source.as_raw_fd()) {
        return Err(Failure::bad_path(format!(
            "{} is the kernel's.",
            path.to_string_lossy()
        )));
    }
    run(&source, target, None)
}

fn open_target(target: &OsStr) -> Result<OwnedFd, Failure> {
    let path = c_string(target.as_bytes()).map_err(Failure::at("target"))?;
    openat(libc::AT_FDCWD, &path, DIRECTORY, 0).map_err(Failure::at("target"))
}

fn open_target_of(pid: &OsStr, target: &OsStr) -> Result<OwnedFd, Failure> {
    if !namespace::has_own_users(pid)? {
        return open_target(target);
    }
    let users = [b"/proc/", pid.as_bytes(), b"/ns/user"].concat();
    let users = openat(libc::AT_FDCWD, &c_string(&users)?, libc::O_RDONLY, 0).map_err(Failure::at("user namespace"))?;
    let tree = ids::mapped(&users, target)?;
    openat(tree.as_raw_fd(), literal(b".\0"), DIRECTORY, 0).map_err(Failure::at("target"))
}

fn run(source: &OwnedFd, target: OwnedFd, watcher: Option<Watcher>) -> Result<(), Failure> {
    prepare();
    let mut copier = Copier {
        target,
        pass: 0,
        last: false,
        began: 0,
        links: HashMap::new(),
        path: Vec::new(),
        bytes: 0,
        files: 0,
        watcher,
        heard: HashMap::new(),
    };
    let mut root = Directory::new(fstat(source.as_raw_fd())?);
    loop {
        copier.all(source, &mut root)?;
        if copier.pass == MAX_PASSES || (copier.bytes <= SHORT_BYTES && copier.files <= SHORT_FILES) {
            break;
        }
    }
    tell("ready")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim_end() != "final" {
        return Err(Failure::usage("broken off"));
    }
    copier.last = true;
    copier.all(source, &mut root)?;
    tell("done")?;
    finish(&copier.target, &root)?;
    sync_filesystem(&copier.target)?;
    Ok(())
}

fn tell(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()
}

/// Who breaks a lease sends a signal.
fn prepare() {
    raise_open_files();
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

impl Copier {
    fn all(&mut self, source: &OwnedFd, root: &mut Directory) -> io::Result<()> {
        self.pass += 1;
        self.began = now() - TICK_NS;
        self.links.clear();
        (self.bytes, self.files) = (0, 0);
        match self.watcher.as_ref().map(Watcher::take) {
            Some(Some(heard)) => self.heard = heard,
            // Nothing is known any more: every file is looked at from now on.
            Some(None) => self.watcher = None,
            None => {}
        }
        let target = self.target.as_raw_fd();
        self.directory(source.as_raw_fd(), target, root, 0)
    }

    /// What is below it, and its own attributes but its times, which change with each entry that is made.
    fn directory(&mut self, source: RawFd, target: RawFd, known: &mut Directory, depth: u32) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        let stat = fstat(source)?;
        if self.has_same_names(known, &stat) {
            return self.entries_heard_of(source, target, known, depth);
        }
        if let Some(watch) = known.watch {
            self.heard.remove(&watch); // all of its files are looked at
        }
        known.stat = stat;
        known.settled = Stamp::of(&stat).is_older_than(self.began);
        known.watch = self.watcher.as_ref().and_then(|watcher| watcher.watch(&self.path));
        attributes(source, target, &known.stat)?;
        for name in names(source)? {
            self.entry(source, target, name, known, depth)?;
        }
        let pass = self.pass;
        let mut gone = Vec::new();
        known.children.retain(|name, child| {
            let stays = child.seen == pass;
            if !stays {
                gone.push(name.clone());
            }
            stays
        });
        known.remember();
        gone.iter().try_for_each(|name| remove(target, name))
    }

    /// Whether a directory has the entries that it had, and whatever happened to its files was heard.
    fn has_same_names(&self, known: &Directory, stat: &libc::stat) -> bool {
        self.watcher.is_some() && known.watch.is_some() && known.settled && Stamp::of(&known.stat) == Stamp::of(stat)
    }

    /// Whether there is nothing in a directory to look at.
    fn is_still(&self, known: &Directory, stat: &libc::stat) -> bool {
        let heard = known.watch.map_or(false, |watch| self.heard.contains_key(&watch));
        !heard && known.loud.is_empty() && known.directories.is_empty() && self.has_same_names(known, stat)
    }

    fn entries_heard_of(&mut self, source: RawFd, target: RawFd, known: &mut Directory, depth: u32) -> io::Result<()> {
        let heard = known
            .watch
            .and_then(|watch| self.heard.remove(&watch))
            .unwrap_or_default();
        let mut names = std::mem::take(&mut known.loud);
        for name in heard {
            match known.children.get_mut(&name) {
                Some(child) if child.quiet => {
                    child.quiet = false;
                    names.push(name);
                }
                _ => {}
            }
        }
        names.extend_from_slice(&known.directories);
        for name in names {
            self.entry(source, target, name, known, depth)?;
        }
        known.remember();
        Ok(())
    }

    fn entry(
        &mut self,
        source: RawFd,
        target: RawFd,
        name: CString,
        parent: &mut Directory,
        depth: u32,
    ) -> io::Result<()> {
        let Some(stat) = unless_gone(fstatat(source, &name, 0))? else {
            return Ok(());
        };
        let stamp = Stamp::of(&stat);
        // Nearly all: the last pass, for which programs stand still, does little else.
        if let Some(node) = parent.children.get_mut(&name) {
            if node.settled && node.stamp == stamp {
                node.seen = self.pass;
                return Ok(());
            }
            if node
                .directory
                .as_ref()
                .map_or(false, |known| self.is_still(known, &stat))
            {
                node.seen = self.pass;
                return Ok(());
            }
        }
        let crosses = stat.st_dev != parent.stat.st_dev;
        let known = parent.children.remove(&name);
        let node = if kind(&stat) == libc::S_IFDIR {
            self.below(
                Pair {
                    source,
                    target,
                    name: &name,
                },
                &stat,
                known,
                crosses,
                depth,
            )?
        } else {
            self.file(
                Pair {
                    source,
                    target,
                    name: &name,
                },
                &stat,
            )?
        };
        if let Some(node) = node {
            parent.children.insert(name, node);
        }
        Ok(())
    }

    fn below(
        &mut self,
        pair: Pair,
        stat: &libc::stat,
        known: Option<Node>,
        crosses: bool,
        depth: u32,
    ) -> io::Result<Option<Node>> {
        let Pair { source, target, name } = pair;
        let stamp = Stamp::of(stat);
        let Some(inner) = unless_gone(openat(source, name, DIRECTORY, 0))? else {
            remove(target, name)?;
            return Ok(None);
        };
        let known = known
            .filter(|node| node.stamp.is_same_file(&stamp))
            .and_then(|node| node.directory);
        if known.is_none() {
            remove(target, name)?;
            // SAFETY: the name outlives the call.
            check(unsafe { libc::mkdirat(target, name.as_ptr(), 0o700) })?;
        }
        let mut directory = known.unwrap_or_else(|| Box::new(Directory::new(*stat)));
        if !(crosses && is_kernels(inner.as_raw_fd())) {
            let outer = openat(target, name, DIRECTORY, 0)?;
            let length = self.path.len();
            self.path.extend_from_slice(name.to_bytes());
            self.path.push(b'/');
            self.directory(inner.as_raw_fd(), outer.as_raw_fd(), &mut directory, depth + 1)?;
            self.path.truncate(length);
        }
        Ok(Some(Node {
            stamp,
            settled: false,
            quiet: false,
            seen: self.pass,
            directory: Some(directory),
        }))
    }

    /// Anything but a directory. @returns nothing when there is no copy
    fn file(&mut self, pair: Pair, stat: &libc::stat) -> io::Result<Option<Node>> {
        let Pair { source, target, name } = pair;
        remove(target, name)?;
        let mut quiet = stat.st_nlink == 1;
        let settled = match self.link(pair, stat)? {
            Some(settled) => settled,
            None => {
                self.files += 1;
                let from = Place {
                    directory: source,
                    name,
                };
                let to = Place {
                    directory: target,
                    name,
                };
                let settled = if kind(stat) == libc::S_IFREG {
                    let Some(copied) = unless_gone(regular(from, to, stat, !self.last))?.flatten() else {
                        return Ok(None);
                    };
                    self.bytes += copied.bytes;
                    quiet &= copied.unopened;
                    copied.changes_show
                } else {
                    if !unless_gone(special(from, to, stat))?.unwrap_or(false) {
                        return Ok(None);
                    }
                    true
                };
                if stat.st_nlink > 1 {
                    let path = [self.path.as_slice(), name.to_bytes()].concat();
                    self.links.insert(file_id(stat), (path, settled));
                }
                settled
            }
        };
        let stamp = Stamp::of(stat);
        let settled = settled && stamp.is_older_than(self.began);
        Ok(Some(Node {
            stamp,
            settled,
            quiet: quiet && settled,
            seen: self.pass,
            directory: None,
        }))
    }

    /// Another name of what this pass copied already. All names of a file are copied again together, or none is.
    fn link(&self, pair: Pair, stat: &libc::stat) -> io::Result<Option<bool>> {
        let Some((path, settled)) = self.links.get(&file_id(stat)) else {
            return Ok(None);
        };
        let (root, path) = (self.target.as_raw_fd(), c_string(path)?);
        // SAFETY: the names outlive the call.
        let linked = unsafe { libc::linkat(root, path.as_ptr(), pair.target, pair.name.as_ptr(), 0) };
        Ok((linked == 0).then_some(*settled))
    }
}

/// The same name in the source and in the target.
#[derive(Clone, Copy)]
struct Pair<'a> {
    source: RawFd,
    target: RawFd,
    name: &'a CStr,
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR | libc::ENXIO)
            ) =>
        {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Gives the directories their times, now that nothing is written to them any more.
fn finish(target: &OwnedFd, directory: &Directory) -> io::Result<()> {
    for (name, child) in &directory.children {
        if let Some(inner) = &child.directory {
            finish(&openat(target.as_raw_fd(), name, DIRECTORY, 0)?, inner)?;
        }
    }
    times(target.as_raw_fd(), &directory.stat)
}
