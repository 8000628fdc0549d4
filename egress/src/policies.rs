//! What each sandbox may reach, as the server says. A sandbox is its address. One of which nothing was said may reach nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::str::SplitAsciiWhitespace;

use http::header::{HeaderName, HeaderValue};
use tokio::sync::Notify;

use crate::audit::{Audit, By, Outcome};
use crate::headers::Headers;
use crate::names::Allowed;
use crate::ranges::Ranges;

const SET: u8 = b'S';
const SET_AUDITED: u8 = b'A';
const EVENTS: u8 = b'E';
const FORGET: u8 = b'F';
const KEEP: u8 = b'K';
/// A word between a sandbox's patterns and its secret headers: it is neither.
const HEADERS: &str = ":";
/// A word among a sandbox's patterns: it is told the addresses of all names, also of those that it does not reach through here.
const ALL_NAMES: &str = "?";

#[derive(Default)]
pub struct Policies {
    sandboxes: RefCell<HashMap<Ipv4Addr, Policy>>,
    changed: Notify,
}

struct Policy {
    allowed: Allowed,
    knows_all_names: bool,
    /// By TLS, whatever name leads there.
    ranges: Ranges,
    headers: Headers,
    audit: Option<Audit>,
}

impl Policies {
    pub fn allow(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes.get(&sandbox).is_some_and(|policy| policy.allowed.has(name))
    }

    /// Whether the sandbox is told the addresses of this name.
    pub fn knows(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes
            .get(&sandbox)
            .is_some_and(|policy| policy.knows_all_names || policy.allowed.has(name))
    }

    /// Whether a host at these addresses is one that the sandbox reaches by its name alone, through here, and not by itself.
    pub fn leads_through(&self, sandbox: Ipv4Addr, name: &str, addresses: &[Ipv4Addr]) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes.get(&sandbox).is_some_and(|policy| {
            let by_itself = addresses.iter().any(|&address| policy.ranges.has(address));
            policy.headers.are_for(name) || (policy.allowed.has(name) && !by_itself)
        })
    }

    /// Whether TLS to this host may be let through, if it is to one of the addresses that `reaches` says.
    pub fn may_reach(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes
            .get(&sandbox)
            .is_some_and(|policy| policy.allowed.has(name) || !policy.ranges.is_empty())
    }

    /// Whether TLS to this host may be let through at this address, which is one of its own.
    pub fn reaches(&self, sandbox: Ipv4Addr, name: &str, address: Ipv4Addr) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes
            .get(&sandbox)
            .is_some_and(|policy| policy.allowed.has(name) || policy.ranges.has(address))
    }

    /// Keeps what became of what a sandbox wanted, if it is audited.
    pub fn note(&self, sandbox: Ipv4Addr, by: By, name: &str, outcome: Outcome) {
        let mut sandboxes = self.sandboxes.borrow_mut();
        if let Some(audit) = sandboxes.get_mut(&sandbox).and_then(|policy| policy.audit.as_mut()) {
            audit.note(by, name, &outcome);
        }
    }

    /// Whether the sandbox has secret headers for this host.
    pub fn has_headers(&self, sandbox: Ipv4Addr, name: &str) -> bool {
        let sandboxes = self.sandboxes.borrow();
        sandboxes
            .get(&sandbox)
            .is_some_and(|policy| policy.headers.are_for(name))
    }

    /// @see Headers::of
    pub fn headers(&self, sandbox: Ipv4Addr, name: &str) -> Vec<(HeaderName, HeaderValue)> {
        let sandboxes = self.sandboxes.borrow();
        sandboxes
            .get(&sandbox)
            .map_or_else(Vec::new, |policy| policy.headers.of(name))
    }

    /// Waits until it is so: looked at now, and after each order.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified(); // before the look: what comes between is not missed
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// Carries out an order of the server's: `S` with an address, its patterns and its ranges of addresses, `A` the same of one that is audited, `F` with an address to forget, `K` with
    /// those that are kept while all others are forgotten, `E` with an address whose audit is taken. All are words between spaces. A `?` among the patterns has the
    /// sandbox be told of all names. Behind the patterns and a `:` come its secret headers (`headers.rs`), if it has any.
    pub fn order(&self, letter: u8, words: &str) -> Option<Vec<u8>> {
        let mut words = words.split_ascii_whitespace();
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
                let reached: Vec<&str> = words.by_ref().take_while(|word| *word != HEADERS).collect();
                let (ranges, patterns): (Vec<&str>, Vec<&str>) =
                    reached.into_iter().partition(|word| word.contains('/'));
                let knows_all_names = patterns.contains(&ALL_NAMES);
                let allowed = Allowed::parse(patterns.into_iter().filter(|&word| word != ALL_NAMES))?;
                let ranges = Ranges::parse(ranges.into_iter())?;
                let headers = Headers::parse(words)?;
                let before = sandboxes.remove(&address).and_then(|policy| policy.audit);
                let audit = (letter == SET_AUDITED).then(|| before.unwrap_or_default());
                sandboxes.insert(
                    address,
                    Policy {
                        allowed,
                        knows_all_names,
                        ranges,
                        headers,
                        audit,
                    },
                );
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
        assert_eq!(policies.order(SET, "10.0.0.3 a.test b.test"), Some(Vec::new()));
        assert_eq!(policies.order(SET, "10.0.0.5 *.c.test"), Some(Vec::new()));
        assert!(policies.allow(ONE, "a.test") && !policies.allow(TWO, "a.test"));
        assert_eq!(policies.order(SET, "10.0.0.3 b.test"), Some(Vec::new()));
        assert!(!policies.allow(ONE, "a.test") && policies.allow(ONE, "b.test"));
        assert_eq!(policies.order(KEEP, "10.0.0.5"), Some(Vec::new()));
        assert!(!policies.allow(ONE, "b.test") && policies.allow(TWO, "x.c.test"));
        assert_eq!(policies.order(FORGET, "10.0.0.5"), Some(Vec::new()));
        assert!(!policies.allow(TWO, "x.c.test"));
    }

    #[test]
    fn an_audit_goes_on_over_a_change_and_is_of_one_sandbox() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET_AUDITED, "10.0.0.3 a.test"), Some(Vec::new()));
        assert_eq!(policies.order(SET, "10.0.0.5 a.test"), Some(Vec::new()));
        policies.note(ONE, By::Tls, "b.test", Outcome::NotAllowed);
        policies.note(TWO, By::Tls, "c.test", Outcome::NotAllowed);
        assert_eq!(policies.order(SET_AUDITED, "10.0.0.3 b.test"), Some(Vec::new()));
        let text = policies.order(EVENTS, "10.0.0.3").expect("an answer");
        assert!(String::from_utf8(text)
            .expect("text")
            .ends_with(" tls b.test not-allowed\n"));
        for address in ["10.0.0.3", "10.0.0.5", "10.0.0.7"] {
            assert_eq!(policies.order(EVENTS, address), Some(Vec::new()));
        }
    }

    #[test]
    fn secret_headers_are_of_one_sandbox_and_go_with_the_next_order() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET, "10.0.0.3 * : a.test x-key 42"), Some(Vec::new()));
        assert_eq!(policies.order(SET, "10.0.0.5 *"), Some(Vec::new()));
        assert!(policies.has_headers(ONE, "a.test") && !policies.has_headers(ONE, "b.test"));
        assert!(!policies.has_headers(TWO, "a.test") && policies.headers(TWO, "a.test").is_empty());
        assert_eq!(policies.headers(ONE, "a.test").len(), 1);
        assert_eq!(policies.order(SET, "10.0.0.3 *"), Some(Vec::new()));
        assert!(!policies.has_headers(ONE, "a.test"));
    }

    #[test]
    fn a_range_is_reached_by_any_name_and_a_name_at_any_address() {
        let policies = Policies::default();
        let [inside, outside] = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 3, 7)];
        assert_eq!(policies.order(SET, "10.0.0.3 a.test 192.0.2.0/24"), Some(Vec::new()));
        assert!(policies.reaches(ONE, "a.test", outside) && policies.reaches(ONE, "b.test", inside));
        assert!(policies.may_reach(ONE, "b.test") && !policies.reaches(ONE, "b.test", outside));
        assert!(!policies.allow(ONE, "b.test"));
        assert_eq!(policies.order(SET, "10.0.0.3 a.test"), Some(Vec::new()));
        assert!(!policies.may_reach(ONE, "b.test") && !policies.reaches(ONE, "b.test", inside));
    }

    #[test]
    fn a_gateway_is_the_way_to_what_is_reached_by_names_alone() {
        let policies = Policies::default();
        let [inside, outside] = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::new(192, 0, 3, 7)];
        assert_eq!(policies.order(SET, "10.0.0.3 a.test 192.0.2.0/24"), Some(Vec::new()));
        assert!(policies.leads_through(ONE, "a.test", &[outside]));
        assert!(!policies.leads_through(ONE, "a.test", &[outside, inside]) && !policies.knows(ONE, "b.test"));
        assert_eq!(policies.order(SET, "10.0.0.3 ?"), Some(Vec::new()));
        assert!(policies.knows(ONE, "b.test") && !policies.allow(ONE, "b.test"));
        assert!(!policies.leads_through(ONE, "b.test", &[outside]) && !policies.may_reach(ONE, "b.test"));
        assert_eq!(
            policies.order(SET, "10.0.0.3 ? * 0.0.0.0/0 : a.test x-key 42"),
            Some(Vec::new())
        );
        assert!(policies.leads_through(ONE, "a.test", &[outside]));
        assert!(!policies.leads_through(ONE, "b.test", &[outside]) && !policies.knows(TWO, "a.test"));
    }

    #[test]
    fn what_is_no_order_changes_nothing() {
        let policies = Policies::default();
        assert_eq!(policies.order(SET, "10.0.0.3 a.test"), Some(Vec::new()));
        for (letter, words) in [
            (SET, "10.0.0.3 a..b"),
            (SET, "10.0.0 a.test"),
            (SET, "10.0.0.3 192.0.2.0/40"),
            (SET, ""),
            (SET, "10.0.0.3 a.test : a.test x"),
            (KEEP, "x"),
            (b'Z', ""),
        ] {
            assert_eq!(policies.order(letter, words), None, "{words}");
        }
        assert!(policies.allow(ONE, "a.test"));
    }
}
