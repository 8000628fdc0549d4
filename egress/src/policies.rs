//! What each sandbox may reach, as the server says. A sandbox is its address. One of which nothing was said may reach nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::str::{self, SplitAsciiWhitespace};

use tokio::sync::Notify;

use crate::names::Allowed;

const SET: u8 = b'S';
const FORGET: u8 = b'F';
const KEEP: u8 = b'K';
const DONE: u8 = b'k';

#[derive(Clone, Default)]
pub struct Policies(Rc<Table>);

#[derive(Default)]
struct Table {
    sandboxes: RefCell<HashMap<Ipv4Addr, Allowed>>,
    changed: Notify,
}

impl Policies {
    pub fn allow(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.0.sandboxes.borrow();
        sandboxes.get(&sandbox).is_some_and(|allowed| allowed.has(name))
    }

    /// Waits until the sandbox may not reach the name any more.
    pub async fn refusal(&self, sandbox: Ipv4Addr, name: &str) {
        loop {
            let changed = self.0.changed.notified(); // before the look: what comes between is not missed
            if !self.allow(sandbox, name) {
                return;
            }
            changed.await;
        }
    }

    /// Carries out an order of the server's: `S` with an address and its patterns, `F` with an address to forget, `K` with those that are kept while all others
    /// are forgotten. All are words between spaces.
    pub fn order(&self, letter: u8, words: &[u8]) -> Option<u8> {
        let mut words = str::from_utf8(words).ok()?.split_ascii_whitespace();
        self.carry_out(letter, &mut words)?;
        self.0.changed.notify_waiters();
        Some(DONE)
    }

    fn carry_out(&self, letter: u8, words: &mut SplitAsciiWhitespace<'_>) -> Option<()> {
        let mut sandboxes = self.0.sandboxes.borrow_mut();
        match letter {
            SET => {
                let address = words.next()?.parse().ok()?;
                sandboxes.insert(address, Allowed::parse(words)?);
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
        Some(())
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
        assert_eq!(policies.order(SET, b"10.0.0.3 a.test b.test"), Some(DONE));
        assert_eq!(policies.order(SET, b"10.0.0.5 *.c.test"), Some(DONE));
        assert!(policies.allow(ONE, "a.test") && !policies.allow(TWO, "a.test"));
        assert_eq!(policies.order(SET, b"10.0.0.3 b.test"), Some(DONE));
        assert!(!policies.allow(ONE, "a.test") && policies.allow(ONE, "b.test"));
        assert_eq!(policies.order(KEEP, b"10.0.0.5"), Some(DONE));
        assert!(!policies.allow(ONE, "b.test") && policies.allow(TWO, "x.c.test"));
        assert_eq!(policies.order(FORGET, b"10.0.0.5"), Some(DONE));
        assert!(!policies.allow(TWO, "x.c.test"));
    }

    #[test]
    fn what_is_no_order_changes_nothing() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET, b"10.0.0.3 a.test"), Some(DONE));
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
