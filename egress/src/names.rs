//! Names of hosts, and which of them a policy allows.

use std::collections::HashSet;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host's name in lower case. None for what is none: an address, a name without a dot, one with other characters than hosts' names have.
pub fn host_name(bytes: &[u8]) -> Option<String> {
    if bytes.len() > MAX_NAME {
        return None;
    }
    let labels: Vec<&[u8]> = bytes.split(|&byte| byte == b'.').collect();
    let fits = |label: &&[u8]| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = labels.last()?;
    if labels.len() < 2 || !labels.iter().all(fits) || last.iter().all(u8::is_ascii_digit) {
        return None;
    }
    String::from_utf8(bytes.to_ascii_lowercase()).ok()
}

/// Which names a sandbox may reach.
#[derive(Default)]
pub struct Allowed {
    all: bool,
    exact: HashSet<String>,
    /// Of which all names below, and the name itself, are allowed.
    parents: HashSet<String>,
}

impl Allowed {
    /// Of patterns: a name, `*.` before one (for it and all below it), or `*`. @returns none when one is none of these
    pub fn parse<'a>(patterns: impl Iterator<Item = &'a str>) -> Option<Allowed> {
        let mut allowed = Allowed::default();
        for pattern in patterns {
            if pattern == "*" {
                allowed.all = true;
            } else if let Some(parent) = pattern.strip_prefix("*.") {
                allowed.parents.insert(host_name(parent.as_bytes())?);
            } else {
                allowed.exact.insert(host_name(pattern.as_bytes())?);
            }
        }
        Some(allowed)
    }

    /// @param name as `host_name` gives it
    pub fn has(&self, name: &str) -> bool {
        if self.all || self.exact.contains(name) {
            return true;
        }
        let mut rest = name;
        loop {
            if self.parents.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_told_from_others() {
        assert_eq!(host_name(b"Example.COM").as_deref(), Some("example.com"));
        assert_eq!(host_name(b"a_b.x-1.example").as_deref(), Some("a_b.x-1.example"));
        for bad in [
            "",
            "localhost",
            "1.2.3.4",
            "a..b",
            ".a.b",
            "a.b.",
            "a b.c",
            "a.b/c",
            "[::1]",
            "a.1",
            "ex\u{e4}.de",
            "a.b:80",
        ] {
            assert_eq!(host_name(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(host_name(format!("{}.example", "x".repeat(64)).as_bytes()), None);
        assert_eq!(host_name(format!("{}example", "x.".repeat(124)).as_bytes()), None);
    }

    #[test]
    fn a_policy_allows_what_it_names_and_nothing_else() {
        let allowed = Allowed::parse(["example.com", "*.example.org"].into_iter()).expect("patterns");
        for name in ["example.com", "example.org", "a.example.org", "a.b.example.org"] {
            assert!(allowed.has(name), "{name}");
        }
        for name in [
            "a.example.com",
            "xexample.org",
            "example.org.evil.test",
            "org",
            "com",
            "ample.com",
        ] {
            assert!(!allowed.has(name), "{name}");
        }
        let all = Allowed::parse(["*"].into_iter()).expect("a pattern");
        assert!(all.has("any.test"));
        assert!(!Allowed::parse([].into_iter()).expect("nothing").has("any.test"));
        for bad in ["*.*", "**", "x*.example.com", "", "*."] {
            assert!(Allowed::parse([bad].into_iter()).is_none(), "{bad}");
        }
    }
}
