//! Which inotify watch belongs to which path, kept right while directories come, go and move.

use super::inotify::{Inotify, Watch};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub struct WatchTree {
    paths: HashMap<Watch, PathBuf>,
    recursive: bool,
}

impl WatchTree {
    /// Watches `root`, with `recursive` also every directory below it.
    pub fn new(inotify: &Inotify, root: &Path, recursive: bool) -> io::Result<WatchTree> {
        let mut tree = WatchTree {
            paths: HashMap::new(),
            recursive,
        };
        tree.paths.insert(inotify.add(root)?, root.to_path_buf());
        if recursive && root.is_dir() {
            tree.add_below(inotify, root, &mut |_| {})?;
        }
        Ok(tree)
    }

    pub fn path_of(&self, watch: Watch) -> Option<&Path> {
        self.paths.get(&watch).map(PathBuf::as_path)
    }

    /// A directory turned up. Reports what is in it already, since that happened before it was watched.
    pub fn appeared(&mut self, inotify: &Inotify, path: &Path, found: &mut dyn FnMut(&Path)) {
        if self.recursive {
            if let Ok(watch) = inotify.add(path) {
                self.paths.insert(watch, path.to_path_buf());
                // Gone again, or out of watches: the rest goes on.
                let _ = self.add_below(inotify, path, found);
            }
        }
    }

    /// Iterative: the depth of the tree is not ours to choose.
    fn add_below(&mut self, inotify: &Inotify, top: &Path, found: &mut dyn FnMut(&Path)) -> io::Result<()> {
        let mut open = vec![top.to_path_buf()];
        while let Some(directory) = open.pop() {
            // Unreadable or gone since: nothing to watch in it.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                found(&path);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    match inotify.add(&path) {
                        Ok(watch) => {
                            self.paths.insert(watch, path.clone());
                            open.push(path);
                        }
                        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => return Err(error),
                        Err(_) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// A directory within the tree has another name now.
    pub fn moved(&mut self, from: &Path, to: &Path) {
        for path in self.paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() {
                    to.to_path_buf()
                } else {
                    to.join(rest)
                };
            }
        }
    }

    /// A directory left the tree alive.
    pub fn moved_away(&mut self, inotify: &Inotify, from: &Path) {
        self.paths.retain(|watch, path| {
            let leaves = path.starts_with(from);
            if leaves {
                inotify.remove(*watch);
            }
            !leaves
        });
    }

    /// The kernel dropped a watch, because what it watched is gone.
    pub fn dropped(&mut self, watch: Watch) {
        self.paths.remove(&watch);
    }
}
