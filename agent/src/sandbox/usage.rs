//! What the sandbox takes of its machine, as the files of its own control group say where it sees them. Nobody else counts in a Pod.

use serde_json::{json, Value};
use std::fs;
use std::path::Path;

const ROOT: &str = "/sys/fs/cgroup";

/// None where there is no control group to be seen.
pub fn usage() -> Option<Value> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        second(root)
    } else {
        first(root)
    }
}

fn second(root: &Path) -> Option<Value> {
    Some(json!({
        "memoryBytes": number(&root.join("memory.current"))?,
        "cpuUsageNs": field(&root.join("cpu.stat"), "usage_usec")? * 1000,
        "pids": number(&root.join("pids.current")).unwrap_or(0),
        "oomKills": field(&root.join("memory.events"), "oom_kill").unwrap_or(0),
    }))
}

fn first(root: &Path) -> Option<Value> {
    let memory = root.join("memory");
    Some(json!({
        "memoryBytes": number(&memory.join("memory.usage_in_bytes"))?,
        "cpuUsageNs": number(&root.join("cpuacct/cpuacct.usage"))?,
        "pids": number(&root.join("pids/pids.current")).unwrap_or(0),
        "oomKills": field(&memory.join("memory.oom_control"), "oom_kill").unwrap_or(0),
    }))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Of a file of lines `name value`.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}
