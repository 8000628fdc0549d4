//! Watch: one JSON event per line until stdin ends or the time is up.

use super::error::{Error, Kind};
use super::inotify::{Event, Inotify};
use super::watch_tree::WatchTree;
use super::Arguments;
use crate::sys;
use serde_json::{json, Value};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the second half of a rename may be behind the first before it is taken for a move out of sight.
const RENAME_GAP: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct Options {
    recursive: bool,
    /// `None`: every type.
    filter: Option<Vec<String>>,
    timeout: Option<Duration>,
}

impl Options {
    pub fn parse(arguments: &Arguments) -> Result<Options, Error> {
        let invalid = |message| Error::new(Kind::InvalidRequest, message);
        let filter = match arguments.get("filter") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => {
                let types = items
                    .iter()
                    .map(|item| item.as_str().map(str::to_string))
                    .collect::<Option<Vec<_>>>();
                Some(types.ok_or_else(|| invalid("the filter must be a list of event types"))?)
            }
            Some(_) => return Err(invalid("the filter must be a list of event types")),
        };
        let timeout = match arguments.get("timeout_secs") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64() {
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => return Err(invalid("the timeout must be a whole number of seconds")),
            },
        };
        Ok(Options {
            recursive: super::flag(arguments, "recursive")?,
            filter,
            timeout,
        })
    }
}

pub fn watch(path: &Path, options: &Options) -> Result<(), Error> {
    let root = fs::canonicalize(path)?;
    let inotify = Inotify::new()?;
    let tree = WatchTree::new(&inotify, &root, options.recursive).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSPC) => Error::new(Kind::Io, "There are more directories than the system can watch"),
        _ => error.into(),
    })?;
    // A time beyond the clock is never.
    let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut watcher = Watcher {
        inotify,
        tree,
        root,
        filter: options.filter.as_deref(),
        moving: None,
    };
    match watcher.run(deadline) {
        // The client stopped listening.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::from),
    }
}

/// The first half of a rename.
struct Moving {
    cookie: u32,
    from: PathBuf,
    is_directory: bool,
    since: Instant,
}

struct Watcher<'a> {
    inotify: Inotify,
    tree: WatchTree,
    root: PathBuf,
    filter: Option<&'a [String]>,
    moving: Option<Moving>,
}

impl Watcher<'_> {
    fn run(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(());
            }
            let gap = self.moving.as_ref().map(|moving| moving.since + RENAME_GAP);
            let wake = deadline.into_iter().chain(gap).min();
            let wait = wake.map_or(-1, |at| {
                at.saturating_duration_since(now).as_millis().min(60_000) as i32 + 1
            });
            let mut sources = [readable(0), readable(self.inotify.fd())];
            // SAFETY: pointer and length describe `sources`.
            let ready = unsafe { libc::poll(sources.as_mut_ptr(), sources.len() as libc::nfds_t, wait) };
            match sys::check(ready) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in self.inotify.read()? {
                self.on_event(event)?;
            }
            if self
                .moving
                .as_ref()
                .is_some_and(|moving| moving.since.elapsed() >= RENAME_GAP)
            {
                self.moved_away()?;
            }
            if sources[0].revents != 0 && sys::read(0, &mut [0; 4096]).map_or(true, |count| count == 0) {
                return Ok(());
            }
        }
    }

    fn on_event(&mut self, event: Event) -> io::Result<()> {
        if event.is(libc::IN_Q_OVERFLOW) {
            let root = self.root.clone();
            return self.say("Unknown", &[&root]);
        }
        if event.is(libc::IN_IGNORED) {
            self.tree.dropped(event.watch);
            return Ok(());
        }
        let watched = match self.tree.path_of(event.watch) {
            Some(path) => path.to_path_buf(),
            None => return Ok(()),
        };
        let is_root = watched == self.root;
        let path = match &event.name {
            Some(name) => watched.join(name),
            // A directory below the root says the same through its parent.
            None if !is_root => return Ok(()),
            None => watched,
        };
        let is_directory = event.is(libc::IN_ISDIR);
        if event.is(libc::IN_MOVED_TO) {
            return self.moved_here(event.cookie, &path, is_directory);
        }
        if self.moving.is_some() {
            self.moved_away()?;
        }
        if event.is(libc::IN_MOVED_FROM) {
            self.moving = Some(Moving {
                cookie: event.cookie,
                from: path,
                is_directory,
                since: Instant::now(),
            });
            return Ok(());
        }
        if event.is(libc::IN_CREATE) {
            self.say("Create", &[&path])?;
            return if is_directory {
                self.entered(&path, true)
            } else {
                Ok(())
            };
        }
        let kind = match event.mask {
            mask if mask & (libc::IN_DELETE | libc::IN_DELETE_SELF) != 0 => "Remove",
            mask if mask & (libc::IN_MODIFY | libc::IN_ATTRIB) != 0 => "Modify",
            mask if mask & libc::IN_MOVE_SELF != 0 => "RenameFrom",
            mask if mask & libc::IN_ACCESS != 0 => "Access",
            _ => "Unknown",
        };
        self.say(kind, &[&path])
    }

    fn moved_here(&mut self, cookie: u32, to: &Path, is_directory: bool) -> io::Result<()> {
        match self.moving.take() {
            Some(moving) if moving.cookie == cookie => {
                self.tree.moved(&moving.from, to);
                self.say("Rename", &[&moving.from, to])
            }
            other => {
                self.moving = other;
                self.moved_away()?;
                self.say("RenameTo", &[to])?;
                if is_directory {
                    self.entered(to, false)?;
                }
                Ok(())
            }
        }
    }

    fn moved_away(&mut self) -> io::Result<()> {
        if let Some(moving) = self.moving.take() {
            if moving.is_directory {
                self.tree.moved_away(&self.inotify, &moving.from);
            }
            self.say("RenameFrom", &[&moving.from])?;
        }
        Ok(())
    }

    /// A new directory: watch it as well. With `report`, what was created in it before that is told now.
    fn entered(&mut self, path: &Path, report: bool) -> io::Result<()> {
        let mut found = Vec::new();
        self.tree
            .appeared(&self.inotify, path, &mut |path| found.push(path.to_path_buf()));
        if report {
            for path in found {
                self.say("Create", &[&path])?;
            }
        }
        Ok(())
    }

    fn say(&self, kind: &str, paths: &[&Path]) -> io::Result<()> {
        if self
            .filter
            .is_some_and(|types| !types.iter().any(|wanted| wanted == kind))
        {
            return Ok(());
        }
        let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", json!({ "event_type": kind, "paths": paths }))?;
        stdout.flush()
    }
}

fn readable(fd: i32) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}
