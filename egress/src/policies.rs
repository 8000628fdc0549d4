//! What each sandbox may reach, as the server says. A sandbox is its address. One of which nothing was said may reach nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::str::{self, SplitAsciiWhitespace};

use tokio::sync::Notify;

use crate::audit::{Audit, By, Outcome};
use crate::names::Allowed;

const SET: u8 = b'S';
const SET_AUDITED: u8 = b'A';
const EVENTS: u8 = b'E';
const FORGET: u8 = b'F';
const KEEP: u8 = b'K';

#[derive(Default)]
pub struct Policies {
    sandboxes: RefCell<HashMap<Ipv4Addr, Policy>>,
    changed: Notify,
}

struct Policy {
    allowed: Allowed,
    audit: Option<Audit>,
}

impl Policies {
    pub fn allow(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes.get(&sandbox).is_some_and(|policy| policy.allowed.has(name))
    }

    /// Keeps what became of what a sandbox wanted, if it is audited.
    pub fn note(&self, sandbox: Ipv4Addr, by: By, name: &str, outcome: Outcome) {
        let mut sandboxes = self.sandboxes.borrow_mut();
        if let Some(audit) = sandboxes.get_mut(&sandbox).and_then(|policy| policy.audit.as_mut()) {
            audit.note(by, name, &outcome);
        }
    }

    /// Waits until the sandbox may not reach the name any more.
    pub async fn refusal(&self, sandbox: Ipv4Addr, name: &str) {
        loop {
            let changed = self.changed.notified(); // before the look: what comes between is not missed
            if !self.allow(sandbox, name) {
                return;
            }
            changed.await;
        }
    }

    /// Carries out an order of the server's: `S` with an address and its patterns, `A` the same of one that is audited, `F` with an address to forget, `K` with
    /// those that are kept while all others are forgotten, `E` with an address whose audit is taken. All are words between spaces.
    pub fn order(&self, letter: u8, words: &[u8]) -> Option<Vec<u8>> {
        let mut words = str::from_utf8(words).ok()?.split_ascii_whitespace();
        let answer = self.carry_out(letter, &mut words)?;
        if letter != EVENTS {
            self.changed.notify_waiters();
        }
        Some(answer.into_bytes())
    }

    fn carry_out(&self, letter: u8, words: &mut SplitAsciiWhitespace<'_>) -> Option<String> {
        let mut sandboxes = self.sandboxes.borrow_mut();
        match letter {
            SET | SET_AUDITED => {
                let address = words.next()?.parse().ok()?;
                let allowed = Allowed::parse(words)?;
                let before = sandboxes.remove(&address).and_then(|policy| policy.audit);
                let audit = (letter == SET_AUDITED).then(|| before.unwrap_or_default());
                sandboxes.insert(address, Policy { allowed, audit });
            }
            EVENTS => {
                let policy = sandboxes.get_mut(&words.next()?.parse().ok()?);
                return Some(
                    policy
                        .and_then(|policy| policy.audit.as_mut())
                        .map_or_else(String::new, Audit::take),
                );
            }
            FORGET => {
                sandboxes.remove(&words.next()?.parse().ok()?);
            }
            KEEP => {
                let kept: HashSet<Ipv4Addr> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
                sandboxes.retain(|address, _| kept.contains(address));
            }
            _ => return None,
        }
        Some(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    #[test]
    fn each_sandbox_has_what_was_said_of_it_last() {
        let policies = Policies::default();
        assert!(!policies.allow(ONE, "a.test"));
        assert_eq!(policies.order(SET, b"10.0.0.3 a.test b.test"), Some(Vec::new()));
        assert_eq!(policies.order(SET, b"10.0.0.5 *.c.test"), Some(Vec::new()));
        assert!(policies.allow(ONE, "a.test") && !policies.allow(TWO, "a.test"));
        assert_eq!(policies.order(SET, b"10.0.0.3 b.test"), Some(Vec::new()));
        assert!(!policies.allow(ONE, "a.test") && policies.allow(ONE, "b.test"));
        assert_eq!(policies.order(KEEP, b"10.0.0.5"), Some(Vec::new()));
        assert!(!policies.allow(ONE, "b.test") && policies.allow(TWO, "x.c.test"));
        assert_eq!(policies.order(FORGET, b"10.0.0.5"), Some(Vec::new()));
        assert!(!policies.allow(TWO, "x.c.test"));
    }

    #[test]
    fn an_audit_goes_on_over_a_change_and_is_of_one_sandbox() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET_AUDITED, b"10.0.0.3 a.test"), Some(Vec::new()));
        assert_eq!(policies.order(SET, b"10.0.0.5 a.test"), Some(Vec::new()));
        policies.note(ONE, By::Tls, "b.test", Outcome::NotAllowed);
        policies.note(TWO, By::Tls, "c.test", Outcome::NotAllowed);
        assert_eq!(policies.order(SET_AUDITED, b"10.0.0.3 b.test"), Some(Vec::new()));
        let text = policies.order(EVENTS, b"10.0.0.3").expect("an answer");
        assert!(String::from_utf8(text)
            .expect("text")
            .ends_with(" tls b.test not-allowed\n"));
        for address in ["10.0.0.3", "10.0.0.5", "10.0.0.7"] {
            assert_eq!(policies.order(EVENTS, address.as_bytes()), Some(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_order_changes_nothing() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET, b"10.0.0.3 a.test"), Some(Vec::new()));
        for (letter, words) in [
            (SET, "10.0.0.3 a..b"),
            (SET, "10.0.0 a.test"),
            (SET, ""),
            (KEEP, "x"),
            (b'Z', ""),
        ] {
            assert_eq!(policies.order(letter, words.as_bytes()), None, "{words}");
        }
        assert!(policies.allow(ONE, "a.test"));
    }
}
