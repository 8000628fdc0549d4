//! One file's description, as Stat and ListFiles give it.

use crate::users::Names;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Describes files, and remembers the names of their owners.
pub struct Describer {
    users: Names,
    groups: Names,
    known_users: HashMap<u32, String>,
    known_groups: HashMap<u32, String>,
}

impl Describer {
    pub fn new() -> Describer {
        Describer {
            users: Names::users(),
            groups: Names::groups(),
            known_users: HashMap::new(),
            known_groups: HashMap::new(),
        }
    }

    /// `meta` is of the file itself, not of a link's target.
    pub fn describe(&mut self, name: &str, path: &Path, meta: &Metadata) -> Value {
        let (users, groups) = (&self.users, &self.groups);
        let owner = self
            .known_users
            .entry(meta.uid())
            .or_insert_with(|| users.of(meta.uid()));
        let group = self
            .known_groups
            .entry(meta.gid())
            .or_insert_with(|| groups.of(meta.gid()));
        let kind = match meta.file_type() {
            kind if kind.is_dir() => "directory",
            kind if kind.is_symlink() => "symlink",
            // The clients know no other types, so sockets, pipes and devices are files as well.
            _ => "file",
        };
        let target = fs::read_link(path).ok().filter(|_| kind == "symlink");
        json!({
            "name": name,
            "path": path.to_string_lossy(),
            "type": kind,
            "size": meta.size(),
            "mode": meta.mode() & 0o7777,
            "permissions": format!("{:04o}", meta.mode() & 0o7777),
            "owner": owner,
            "group": group,
            "modified_time": meta.mtime() as f64 + meta.mtime_nsec() as f64 / 1e9,
            "symlink_target": target.map(|target| target.to_string_lossy().into_owned()),
        })
    }
}
