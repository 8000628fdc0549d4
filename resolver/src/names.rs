//! For which names audited sandboxes were given addresses: the one thing that answers are read for, of these sandboxes alone.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use skerry_host_process::dns::{question_labels, read_record, HEADER, IPV4_ADDRESS};

/// Addresses kept of one sandbox; the oldest goes.
const MAX_KEPT: usize = 2048;
/// Of one answer (RFC 1035): the rest is not read.
const MAX_RECORDS: usize = 64;

/// The order that says who is audited: all of them. @see `Names::order`
const AUDITED: u8 = b'A';
/// The order that asks for names: a sandbox, and addresses.
const NAMES: u8 = b'N';

/// By sandbox. Who is not in it is not audited.
#[derive(Default)]
pub struct Names(RefCell<HashMap<IpAddr, Kept>>);

#[derive(Default)]
struct Kept {
    names: HashMap<Ipv4Addr, String>,
    order: VecDeque<Ipv4Addr>,
}

impl Names {
    /// Reads which addresses an answer gives, where it is for an audited sandbox.
    pub fn note(&self, sandbox: IpAddr, answer: &[u8]) {
        if let Some(kept) = self.0.borrow_mut().get_mut(&sandbox) {
            if let Some((name, addresses)) = read(answer) {
                for address in addresses {
                    kept.keep(address, &name);
                }
            }
        }
    }

    /// Carries out an order of the server's: `A` with the addresses of all audited sandboxes, `N` with a sandbox's and others, which is answered by a line for each
    /// that has a name, `ADDRESS NAME`. All are words between spaces.
    pub fn order(&self, letter: u8, words: &[u8]) -> Option<Vec<u8>> {
        let words = std::str::from_utf8(words).ok()?.split_ascii_whitespace();
        let mut sandboxes = self.0.borrow_mut();
        match letter {
            AUDITED => {
                let audited: HashSet<IpAddr> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
                sandboxes.retain(|sandbox, _| audited.contains(sandbox));
                for sandbox in audited {
                    sandboxes.entry(sandbox).or_default();
                }
                Some(Vec::new())
            }
            NAMES => {
                let mut words = words;
                let sandbox: IpAddr = words.next()?.parse().ok()?;
                let mut lines = String::new();
                for word in words {
                    let address = word.parse().ok()?;
                    if let Some(name) = sandboxes.get(&sandbox).and_then(|kept| kept.names.get(&address)) {
                        let _ = writeln!(lines, "{address} {name}"); // a string takes anything
                    }
                }
                Some(lines.into_bytes())
            }
            _ => None,
        }
    }
}

impl Kept {
    fn keep(&mut self, address: Ipv4Addr, name: &str) {
        if self.names.insert(address, name.to_owned()).is_some() {
            return;
        }
        self.order.push_back(address);
        if self.order.len() > MAX_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.names.remove(&oldest);
            }
        }
    }
}

/// The name that was asked for, in small letters, and the IPv4 addresses of the answer, whatever aliases are on the way. None for what is not the answer to one question
/// for a name as hosts have them.
fn read(message: &[u8]) -> Option<(String, Vec<Ipv4Addr>)> {
    let header = message.get(..HEADER)?;
    if header[4..6] != [0, 1] {
        return None;
    }
    let (labels, end) = question_labels(message)?;
    let name = host_name(&labels)?;
    let mut at = end + 4; // type and class of the question
    let mut addresses = Vec::new();
    for _ in 0..usize::from(u16::from_be_bytes([header[6], header[7]])).min(MAX_RECORDS) {
        let record = read_record(message, at)?;
        at = record.end;
        if let (IPV4_ADDRESS, Ok(octets)) = (record.kind, <[u8; 4]>::try_from(record.data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
    }
    Some((name, addresses))
}

/// None where a label has other characters than hosts' names have, or there is none.
fn host_name(labels: &[&[u8]]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if labels.is_empty() || !labels.iter().all(|label| label.iter().all(is_plain)) {
        return None;
    }
    String::from_utf8(labels.join(&b'.').to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SANDBOX: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));

    /// An answer with an alias and so many addresses.
    fn answer(addresses: &[[u8; 4]]) -> Vec<u8> {
        let mut message = vec![0, 7, 0x81, 0x80, 0, 1, 0, 1 + addresses.len() as u8, 0, 0, 0, 0];
        message.extend(b"\x03WWW\x04test\0\0\x01\0\x01");
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x08\x01x\x04test\0");
        for address in addresses {
            message.extend(b"\x01x\x04test\0\0\x01\0\x01\0\0\0\x3c\0\x04");
            message.extend(address);
        }
        message
    }

    fn asked(names: &Names, words: &str) -> String {
        String::from_utf8(names.order(NAMES, words.as_bytes()).expect("an answer")).expect("text")
    }

    #[test]
    fn an_address_has_the_name_that_was_asked_for_it_in_audited_sandboxes_alone() {
        let names = Names::default();
        names.note(SANDBOX, &answer(&[[192, 0, 2, 1]]));
        assert_eq!(asked(&names, "10.0.0.3 192.0.2.1"), "");
        assert_eq!(names.order(AUDITED, b"10.0.0.3 10.0.0.5"), Some(Vec::new()));
        names.note(SANDBOX, &answer(&[[192, 0, 2, 1], [192, 0, 2, 2]]));
        assert_eq!(
            asked(&names, "10.0.0.3 192.0.2.2 192.0.2.9 192.0.2.1"),
            "192.0.2.2 www.test\n192.0.2.1 www.test\n"
        );
        assert_eq!(asked(&names, "10.0.0.5 192.0.2.1"), "");
        assert_eq!(names.order(AUDITED, b"10.0.0.3"), Some(Vec::new()));
        assert_eq!(asked(&names, "10.0.0.3 192.0.2.1"), "192.0.2.1 www.test\n");
        assert_eq!(names.order(AUDITED, b""), Some(Vec::new()));
        assert_eq!(asked(&names, "10.0.0.3 192.0.2.1"), "");
        assert_eq!(names.order(b'Z', b""), None);
        assert_eq!(names.order(AUDITED, b"x"), None);
    }

    #[test]
    fn what_is_no_answer_is_left_out_wherever_it_ends() {
        let whole = answer(&[[192, 0, 2, 1]]);
        assert!(read(&whole).is_some());
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        let mut strange = whole.clone();
        strange[13] = b'\n';
        assert_eq!(read(&strange), None);
        let mut many = whole;
        many[5] = 2;
        assert_eq!(read(&many), None);
        assert_eq!(read(&[1; 600]), None);
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let names = Names::default();
        names.order(AUDITED, b"10.0.0.3");
        for number in 0..MAX_KEPT + 1 {
            let octets = [10, 1, (number >> 8) as u8, number as u8];
            names.note(SANDBOX, &answer(&[octets]));
        }
        assert_eq!(asked(&names, "10.0.0.3 10.1.0.0"), "");
        assert_eq!(asked(&names, "10.0.0.3 10.1.0.1 10.1.8.0"), "10.1.0.1 www.test\n10.1.8.0 www.test\n");
    }
}
