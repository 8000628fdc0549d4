//! What a sandbox reached and tried to, for those that are audited: kept until the server takes it, as far as there is room.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of one sandbox, that the server has not taken yet.
const MAX_KEPT: usize = 2048;

/// How a host was named.
#[derive(Clone, Copy)]
pub enum By {
    Question,
    Tls,
    Http,
}

/// What became of it.
pub enum Outcome {
    /// A connection begins.
    Open(Ipv4Addr),
    /// It is over: bytes that the sandbox sent and got.
    Over(Ipv4Addr, u64, u64),
    /// The host is none that it may reach.
    NotAllowed,
    /// It did not say which host, or not so that it can be relied on.
    Unclear,
    /// It may be reached, and cannot be.
    Unreachable,
}

#[derive(Default)]
pub struct Audit {
    lines: VecDeque<String>,
    lost: u64,
}

impl Audit {
    /// @param name as `names::host_name` gives it, or empty
    pub fn note(&mut self, by: By, name: &str, outcome: &Outcome) {
        if self.lines.len() >= MAX_KEPT {
            self.lost += 1;
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let by = match by {
            By::Question => "question",
            By::Tls => "tls",
            By::Http => "http",
        };
        let name = if name.is_empty() { "-" } else { name };
        let outcome = match outcome {
            Outcome::Open(address) => format!("open {address}"),
            Outcome::Over(address, sent, received) => format!("over {address} {sent} {received}"),
            Outcome::NotAllowed => "not-allowed".to_owned(),
            Outcome::Unclear => "unclear".to_owned(),
            Outcome::Unreachable => "unreachable".to_owned(),
        };
        self.lines
            .push_back(format!("{} {by} {name} {outcome}\n", time.as_millis()));
    }

    /// Everything since it was last taken, a line each: `TIME_MS BY NAME OUTCOME…`, and `lost COUNT` of what there was no room for.
    pub fn take(&mut self) -> String {
        let mut text: String = self.lines.drain(..).collect();
        if self.lost > 0 {
            let _ = writeln!(text, "lost {}", self.lost); // a string takes anything
            self.lost = 0;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_taken_once_and_what_is_lost_is_counted() {
        let mut audit = Audit::default();
        audit.note(By::Tls, "a.test", &Outcome::Over(Ipv4Addr::new(192, 0, 2, 1), 5, 7));
        audit.note(By::Question, "", &Outcome::Unclear);
        let text = audit.take();
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, rest)| rest)
            .collect();
        assert_eq!(lines, ["tls a.test over 192.0.2.1 5 7", "question - unclear"]);
        assert_eq!(audit.take(), "");
        for _ in 0..MAX_KEPT + 3 {
            audit.note(By::Http, "a.test", &Outcome::NotAllowed);
        }
        let text = audit.take();
        assert_eq!(text.lines().count(), MAX_KEPT + 1);
        assert_eq!(text.lines().last(), Some("lost 3"));
    }
}
