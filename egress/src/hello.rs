//! What is said in the clear at the beginning of a TLS connection (RFC 8446): the client's hello with the name of the host (RFC 6066), and whether the server
//! asks for another one.

use crate::names::host_name;

const HANDSHAKE: u8 = 22;
const CHANGE_CIPHER_SPEC: u8 = 20;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const RECORD_HEADER: usize = 5;
const MAX_RECORD: usize = (1 << 14) + 256;
/// A hello with the largest keys in use has under 4 KiB.
pub const MAX_HELLO: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
/// Its final number, and those of the drafts before: real ones cannot be told from those that mean nothing.
const ENCRYPTED_HELLOS: [u16; 9] = [0xfe0d, 0xfe0c, 0xfe0b, 0xfe0a, 0xfe09, 0xfe08, 0xff02, 0xff03, 0xffce];
/// The random number by which a server's hello says that it wants another one of the client (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

#[derive(Debug, PartialEq)]
pub enum Refusal {
    NotTls,
    NoName,
    EncryptedHello,
}

#[derive(Debug, PartialEq)]
pub struct Hello {
    pub name: String,
    /// Bytes of the records it came in.
    pub length: usize,
}

/// The hello that a client begins with; none while more of it is to come.
pub fn client_hello(bytes: &[u8]) -> Result<Option<Hello>, Refusal> {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let Some(record) = next_record(&bytes[at..])? else {
            return if bytes.len() > 2 * MAX_HELLO {
                Err(Refusal::NotTls)
            } else {
                Ok(None)
            };
        };
        if record.kind != HANDSHAKE || record.payload.is_empty() {
            return Err(Refusal::NotTls);
        }
        message.extend(record.payload);
        at += record.length;
        if message.first() != Some(&CLIENT_HELLO) {
            return Err(Refusal::NotTls);
        }
        let Some(&[_, high, middle, low]) = message.get(..4) else {
            continue;
        };
        let length = 4 + (usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low));
        if length > MAX_HELLO || message.len() > length {
            return Err(Refusal::NotTls); // nothing may follow it in its last record
        }
        if message.len() == length {
            let name = name_in(&message[4..])?;
            return Ok(Some(Hello { name, length: at }));
        }
    }
}

/// The second hello of a client that the server asked for it, among what may come before; none while more is to come.
pub fn second_hello(bytes: &[u8]) -> Result<Option<Hello>, Refusal> {
    let mut at = 0;
    while let Some(record) = next_record(&bytes[at..])? {
        match record.kind {
            CHANGE_CIPHER_SPEC | APPLICATION_DATA => at += record.length,
            _ => {
                let hello = client_hello(&bytes[at..])?;
                return Ok(hello.map(|Hello { name, length }| Hello {
                    name,
                    length: at + length,
                }));
            }
        }
    }
    Ok(None)
}

/// Whether a server's first bytes ask for another hello; none while that cannot be told.
pub fn asks_for_another(bytes: &[u8]) -> Option<bool> {
    let expected = |at: usize, value: u8| bytes.get(at).map(|&byte| byte == value);
    for (at, value) in [(0, HANDSHAKE), (RECORD_HEADER, SERVER_HELLO)] {
        if !expected(at, value)? {
            return Some(false);
        }
    }
    let random = RECORD_HEADER + 4 + 2; // behind type, length and version
    for (index, value) in RETRY.into_iter().enumerate() {
        if !expected(random + index, value)? {
            return Some(false);
        }
    }
    Some(true)
}

struct Record<'a> {
    kind: u8,
    payload: &'a [u8],
    length: usize,
}

fn next_record(bytes: &[u8]) -> Result<Option<Record<'_>>, Refusal> {
    if bytes.first().is_some_and(|kind| !(20..=23).contains(kind)) || bytes.get(1).is_some_and(|&major| major != 3) {
        return Err(Refusal::NotTls);
    }
    let Some(&[kind, _, _, high, low]) = bytes.get(..RECORD_HEADER) else {
        return Ok(None);
    };
    let length = RECORD_HEADER + usize::from(u16::from_be_bytes([high, low]));
    if length > RECORD_HEADER + MAX_RECORD {
        return Err(Refusal::NotTls);
    }
    Ok(bytes
        .get(RECORD_HEADER..length)
        .map(|payload| Record { kind, payload, length }))
}

/// Takes what is read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        if length > self.0.len() {
            return Err(Refusal::NotTls);
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Refusal> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// What has its length before it.
    fn vector(&mut self, length_bytes: usize) -> Result<&'a [u8], Refusal> {
        let length = self.number(length_bytes)?;
        self.take(length)
    }
}

fn name_in(hello: &[u8]) -> Result<String, Refusal> {
    let mut hello = Reader(hello);
    hello.take(2 + 32)?; // version, random
    hello.vector(1)?; // session
    hello.vector(2)?; // ciphers
    hello.vector(1)?; // compression
    if hello.0.is_empty() {
        return Err(Refusal::NoName);
    }
    let mut extensions = Reader(hello.vector(2)?);
    if !hello.0.is_empty() {
        return Err(Refusal::NotTls);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)? as u16;
        let data = extensions.vector(2)?;
        if ENCRYPTED_HELLOS.contains(&kind) {
            return Err(Refusal::EncryptedHello);
        }
        if kind == SERVER_NAME {
            let mut names = Reader(Reader(data).vector(2)?);
            let is_host = names.number(1)? == 0;
            let host = names.vector(2)?;
            if !is_host || !names.0.is_empty() || name.is_some() {
                return Err(Refusal::NotTls); // one name is all that anybody sends, and two could be read in two ways
            }
            name = Some(host_name(host).ok_or(Refusal::NoName)?);
        }
    }
    name.ok_or(Refusal::NoName)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn vector(length_bytes: usize, bytes: &[u8]) -> Vec<u8> {
        let length = (bytes.len() as u32).to_be_bytes();
        [&length[4 - length_bytes..], bytes].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes(), vector(2, data).as_slice()].concat()
    }

    fn server_name(host: &str) -> Vec<u8> {
        let name = [&[0], vector(2, host.as_bytes()).as_slice()].concat();
        extension(SERVER_NAME, &vector(2, &name))
    }

    fn message(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(vector(1, &[]));
        body.extend(vector(2, &[0x13, 0x01]));
        body.extend(vector(1, &[0]));
        body.extend(vector(2, extensions));
        [&[CLIENT_HELLO], vector(3, &body).as_slice()].concat()
    }

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, 3, 1], vector(2, payload).as_slice()].concat()
    }

    fn hello(host: &str) -> Vec<u8> {
        record(
            HANDSHAKE,
            &message(&[extension(10, &[0, 2, 0, 29]), server_name(host)].concat()),
        )
    }

    fn found(name: &str, length: usize) -> Result<Option<Hello>, Refusal> {
        let name = name.to_owned();
        Ok(Some(Hello { name, length }))
    }

    #[test]
    fn the_name_is_found_however_the_hello_is_cut() {
        let whole = hello("WWW.example.com");
        assert_eq!(client_hello(&whole), found("www.example.com", whole.len()));
        for cut in 0..whole.len() {
            assert_eq!(client_hello(&whole[..cut]), Ok(None), "{cut}");
        }
        let message = &whole[RECORD_HEADER..];
        let records: Vec<u8> = message.chunks(3).flat_map(|part| record(HANDSHAKE, part)).collect();
        assert_eq!(client_hello(&records), found("www.example.com", records.len()));
        let followed = [whole.as_slice(), &[23, 3, 3, 0, 1, 9]].concat();
        assert_eq!(client_hello(&followed), found("www.example.com", whole.len()));
    }

    #[test]
    fn a_hello_that_does_not_say_its_host_is_refused() {
        let of = |extensions: &[u8]| client_hello(&record(HANDSHAKE, &message(extensions)));
        assert_eq!(of(&[]), Err(Refusal::NoName));
        assert_eq!(of(&server_name("192.0.2.1")), Err(Refusal::NoName));
        assert_eq!(of(&server_name("")), Err(Refusal::NoName));
        let twice = [server_name("a.test"), server_name("b.test")].concat();
        assert_eq!(of(&twice), Err(Refusal::NotTls));
        let names = [&[0][..], &vector(2, b"a.test"), &[0], &vector(2, b"b.test")].concat();
        assert_eq!(of(&extension(SERVER_NAME, &vector(2, &names))), Err(Refusal::NotTls));
        for kind in ENCRYPTED_HELLOS {
            let encrypted = [server_name("a.test"), extension(kind, &[0, 1, 2])].concat();
            assert_eq!(of(&encrypted), Err(Refusal::EncryptedHello));
        }
    }

    #[test]
    fn what_is_no_hello_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"SSH-2.0-x\r\n".to_vec(),
            vec![0x80, 0x2e, 1, 3, 1],
            record(HANDSHAKE, &[]),
            record(HANDSHAKE, &[2, 0, 0, 1, 0]),
            record(APPLICATION_DATA, &[1]),
            record(HANDSHAKE, &[CLIENT_HELLO, 1, 0, 0]),
            record(HANDSHAKE, &[message(&server_name("a.test")), vec![1]].concat()),
        ] {
            assert_eq!(client_hello(&bytes), Err(Refusal::NotTls), "{bytes:?}");
        }
    }

    #[test]
    fn broken_hellos_do_no_harm() {
        let whole = hello("www.example.com");
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = client_hello(&broken);
            }
        }
    }

    #[test]
    fn a_second_hello_is_found_behind_what_may_come_before_it() {
        let early = [record(CHANGE_CIPHER_SPEC, &[1]), record(APPLICATION_DATA, &[9; 50])].concat();
        let whole = [early.as_slice(), &hello("b.test")].concat();
        assert_eq!(second_hello(&whole), found("b.test", whole.len()));
        for cut in 0..whole.len() {
            assert_eq!(second_hello(&whole[..cut]), Ok(None), "{cut}");
        }
        let other = [early, record(HANDSHAKE, &[16, 0, 0, 0])].concat();
        assert_eq!(second_hello(&other), Err(Refusal::NotTls));
    }

    #[test]
    fn a_server_that_asks_for_another_hello_is_told_from_others() {
        let answer = |random: &[u8]| record(HANDSHAKE, &[&[SERVER_HELLO, 0, 0, 38, 3, 3], random, &[0; 6]].concat());
        assert_eq!(asks_for_another(&answer(&RETRY)), Some(true));
        assert_eq!(asks_for_another(&answer(&[0xcf; 32])), Some(false));
        assert_eq!(asks_for_another(&[21, 3, 3, 0, 2, 2, 40]), Some(false));
        assert_eq!(asks_for_another(&answer(&RETRY)[..20]), None);
    }
}
