//! Who descends from whom, read from /proc, and signals to whole families.

use crate::sys;
use libc::{c_int, pid_t};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Relation {
    pid: pid_t,
    parent: pid_t,
    group: pid_t,
    session: pid_t,
}

/// Stops are repeated until nobody new turns up; a program that forks without end is cut off here.
const MAX_ROUNDS: usize = 64;

/// Signals the process `leader`, its process group, its session and all their descendants. With `alive` false the leader itself was
/// reaped already, and only what it left behind is meant.
pub fn signal_family(leader: pid_t, alive: bool, signal: c_int) {
    signal_each(signal, &mut || family(leader, alive));
    if alive && signal == libc::SIGKILL {
        // For the case that /proc could not be read.
        sys::kill(-leader, signal);
        sys::kill(leader, signal);
    }
}

/// Signals everybody that `members` names.
fn signal_each(signal: c_int, members: &mut dyn FnMut() -> Vec<pid_t>) {
    if signal != libc::SIGKILL {
        members().into_iter().for_each(|pid| sys::kill(pid, signal));
        return;
    }
    // Stopped first: a stopped parent can neither fork another child between two looks, nor die and so orphan one, nor see its
    // children die and end on its own terms.
    let mut stopped = HashSet::new();
    for _ in 0..MAX_ROUNDS {
        let before = stopped.len();
        for pid in members() {
            if stopped.insert(pid) {
                sys::kill(pid, libc::SIGSTOP);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    stopped.into_iter().for_each(|pid| sys::kill(pid, libc::SIGKILL));
}

/// Signals every process but the agent.
pub fn signal_all(signal: c_int) {
    let own = sys::own_pid();
    if own == 1 {
        sys::kill(-1, signal);
        return;
    }
    // Not init: -1 would reach processes that are not the sandbox's.
    signal_each(signal, &mut || {
        descendants(&snapshot(), &mut |relation| relation.parent == own)
    });
}

fn family(leader: pid_t, alive: bool) -> Vec<pid_t> {
    let all = snapshot();
    // A process with the number of a leader that was reaped is another one, and so is its family.
    if !alive && all.iter().any(|relation| relation.pid == leader) {
        return Vec::new();
    }
    descendants(&all, &mut |relation| {
        relation.pid == leader || relation.group == leader || relation.session == leader
    })
}

/// Everybody for whom `is_root` holds and everybody who descends from them, without the agent.
fn descendants(all: &[Relation], is_root: &mut dyn FnMut(&Relation) -> bool) -> Vec<pid_t> {
    let own = sys::own_pid();
    let mut found: HashSet<pid_t> = all
        .iter()
        .filter(|relation| is_root(relation))
        .map(|it| it.pid)
        .collect();
    found.remove(&own);
    loop {
        let before = found.len();
        for relation in all {
            if relation.pid != own && found.contains(&relation.parent) {
                found.insert(relation.pid);
            }
        }
        if found.len() == before {
            return found.into_iter().collect();
        }
    }
}

fn snapshot() -> Vec<Relation> {
    let mut all = Vec::new();
    if let Ok(entries) = fs::read_dir("/proc") {
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.parse::<pid_t>().is_ok()) {
                if let Ok(stat) = fs::read(Path::new("/proc").join(&name).join("stat")) {
                    all.extend(parse(&String::from_utf8_lossy(&stat)));
                }
            }
        }
    }
    all
}

/// `pid (name) state ppid pgrp session ...`; the name may hold anything, also `)` and newlines.
fn parse(stat: &str) -> Option<Relation> {
    let pid = stat.split(' ').next()?.parse().ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(1);
    let mut next = || fields.next()?.parse().ok();
    Some(Relation {
        pid,
        parent: next()?,
        group: next()?,
        session: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_lines_whatever_the_program_is_called() {
        let expected = Some(Relation {
            pid: 12,
            parent: 3,
            group: 4,
            session: 5,
        });
        assert_eq!(parse("12 (cat) S 3 4 5 0 -1"), expected);
        assert_eq!(parse("12 (a) S 9 9 9 (b\n) R 3 4 5 0"), expected);
        assert_eq!(parse("12 (cat"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn finds_descendants_in_any_order() {
        let relation = |pid, parent| Relation {
            pid,
            parent,
            group: pid,
            session: pid,
        };
        let all = [relation(9, 8), relation(8, 7), relation(7, 2), relation(6, 2)];
        let mut found = descendants(&all, &mut |relation| relation.pid == 7);
        found.sort_unstable();
        assert_eq!(found, [7, 8, 9]);
    }
}
