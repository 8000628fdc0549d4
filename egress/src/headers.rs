//! Which headers of a sandbox's requests are given values that the sandbox does not know, and for which hosts.

use http::header::{HeaderName, HeaderValue};

use crate::hex;
use crate::names::Allowed;

#[derive(Default)]
pub struct Headers(Vec<Rule>);

struct Rule {
    hosts: Allowed,
    name: HeaderName,
    value: HeaderValue,
}

impl Headers {
    /// Of words, three for each: a pattern of hosts, a header's name, and its value in hexadecimal digits. @returns none when one is none of these
    pub fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Headers> {
        let mut rules = Vec::new();
        while let Some(pattern) = words.next() {
            let hosts = Allowed::parse(std::iter::once(pattern))?;
            let name = HeaderName::from_bytes(words.next()?.as_bytes()).ok()?;
            let mut value = HeaderValue::from_bytes(&hex::bytes(words.next()?)?).ok()?;
            value.set_sensitive(true); // never in a table of compression, which others could try out
            rules.push(Rule { hosts, name, value });
        }
        Some(Headers(rules))
    }

    /// Whether there are any for this host. @param host as `names::host_name` gives it
    pub fn are_for(&self, host: &str) -> bool {
        self.0.iter().any(|rule| rule.hosts.has(host))
    }

    /// Those for this host; of two for one header the later one holds.
    pub fn of(&self, host: &str) -> Vec<(HeaderName, HeaderValue)> {
        let rules = self.0.iter().filter(|rule| rule.hosts.has(host));
        rules.map(|rule| (rule.name.clone(), rule.value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_own_and_no_others() {
        let words = "a.test Authorization 42 *.b.test x-key 31 * x-all 3c203e";
        let headers = Headers::parse(words.split(' ')).expect("headers");
        let of = |host: &str| -> Vec<String> {
            let values = headers.of(host).into_iter();
            values
                .map(|(name, value)| format!("{name}={}", value.to_str().expect("text")))
                .collect()
        };
        assert_eq!(of("a.test"), ["authorization=B", "x-all=< >"]);
        assert_eq!(of("x.b.test"), ["x-key=1", "x-all=< >"]);
        assert_eq!(of("c.test"), ["x-all=< >"]);
        assert!(headers.of("a.test").iter().all(|(_, value)| value.is_sensitive()));
        let some = Headers::parse("a.test x 42".split(' ')).expect("headers");
        assert!(some.are_for("a.test") && !some.are_for("b.a.test") && !Headers::default().are_for("a.test"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "a.test",
            "a.test x",
            "a..test x 42",
            "a.test x: 42",
            "a.test x 4",
            "a.test x zz",
            "a.test x 0a",
        ] {
            assert!(Headers::parse(bad.split(' ')).is_none(), "{bad}");
        }
    }
}
