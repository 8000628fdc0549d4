//! Ranges of addresses that a sandbox may reach by whatever name.

use std::net::Ipv4Addr;

#[derive(Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Of words, `ADDRESS/LENGTH`. @returns none when one is none
    pub fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Ranges> {
        words
            .map(|word| {
                let (address, length) = word.split_once('/')?;
                let (address, length): (Ipv4Addr, u32) = (address.parse().ok()?, length.parse().ok()?);
                let mask = match length {
                    0 => 0,
                    1..=32 => u32::MAX << (32 - length),
                    _ => return None,
                };
                Some((u32::from(address) & mask, mask))
            })
            .collect::<Option<_>>()
            .map(Ranges)
    }

    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.0.iter().any(|&(base, mask)| u32::from(address) & mask == base)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_one_of_them_or_in_none() {
        let ranges = Ranges::parse("192.0.2.0/24 198.51.100.7/32".split(' ')).expect("ranges");
        let has = |text: &str| ranges.has(text.parse().expect("an address"));
        assert!(has("192.0.2.9") && has("198.51.100.7"));
        assert!(!has("192.0.3.9") && !has("198.51.100.8"));
        let all = Ranges::parse(std::iter::once("0.0.0.0/0")).expect("ranges");
        assert!(all.has(Ipv4Addr::new(203, 0, 113, 1)) && !Ranges::default().has(Ipv4Addr::new(203, 0, 113, 1)));
        for bad in ["192.0.2.0", "192.0.2.0/33", "x/8", "192.0.2.0/x"] {
            assert!(Ranges::parse(std::iter::once(bad)).is_none(), "{bad}");
        }
    }
}
