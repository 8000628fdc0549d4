//! What this agent speaks of PROTOCOL.md, told in HELLO. A server may be years older or newer: a checkpoint keeps the agent that it was made with.

use std::ops::RangeInclusive;

/// Versions of the protocol, each a change that a server cannot leave out of account.
pub const VERSIONS: RangeInclusive<u32> = 1..=1;

/// What was added without a new version: a server that wants it looks here first. At most 32, each 1 to 24 of `[a-z0-9-]`.
pub const FEATURES: [&str; 5] = ["dial", "checkpoint", "files", "environment", "nameserver"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_words_that_servers_take() {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(FEATURES.len() <= 32);
        for feature in FEATURES {
            assert!((1..=24).contains(&feature.len()), "{}", feature);
            assert!(feature.bytes().all(allowed), "{}", feature);
        }
    }
}
