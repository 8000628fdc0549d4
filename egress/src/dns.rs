//! DNS messages (RFC 1035): questions of sandboxes, and what is asked and answered for them.

use std::net::Ipv4Addr;

use skerry_host_process::dns::{question_labels, read_record, HEADER, IPV4_ADDRESS};

const RESPONSE: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
/// QR, opcode and TC: a question has none of them, and a truncated answer the last.
const NOT_A_QUESTION: u8 = 0xfa;
/// As many as are passed on: what fits 512 bytes beside the longest name.
const MAX_ADDRESSES: usize = 14;

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Code {
    Fine = 0,
    Failure = 2,
    NoSuchName = 3,
}

/// A question as it came.
pub struct Question {
    id: [u8; 2],
    recursion_desired: u8,
    /// Name, type and class, as they came.
    section: Vec<u8>,
    /// With dots, without the last one.
    pub name: Vec<u8>,
    pub is_for_addresses: bool,
}

impl Question {
    /// None when it is not one plain question.
    pub fn parse(message: &[u8]) -> Option<Question> {
        let header = message.get(..HEADER)?;
        if header[2] & NOT_A_QUESTION != 0 || header[4..8] != [0, 1, 0, 0] {
            return None;
        }
        let (name, end) = read_name(message)?;
        let rest = message.get(end..end + 4)?;
        Some(Question {
            id: [header[0], header[1]],
            recursion_desired: header[2] & RECURSION_DESIRED,
            section: message[HEADER..end + 4].to_vec(),
            name,
            is_for_addresses: rest == IPV4_ADDRESS,
        })
    }

    /// The answer, with as many of the addresses as fit.
    pub fn answer(&self, code: Code, addresses: &[Ipv4Addr], ttl: u32) -> Vec<u8> {
        let given = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        let mut message = Vec::with_capacity(HEADER + self.section.len() + 16 * given.len());
        message.extend(self.id);
        message.extend([RESPONSE | self.recursion_desired, RECURSION_AVAILABLE | code as u8]);
        message.extend([0, 1, 0, given.len() as u8, 0, 0, 0, 0]);
        message.extend(&self.section);
        for address in given {
            message.extend([0xc0, HEADER as u8]); // the name of the question
            message.extend(IPV4_ADDRESS);
            message.extend(ttl.to_be_bytes());
            message.extend([0, 4]);
            message.extend(address.octets());
        }
        message
    }
}

/// The name that begins behind the header, with dots, and where it ends.
fn read_name(message: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (labels, end) = question_labels(message)?;
    Some((labels.join(&b'.'), end))
}

/// A question of our own for the addresses of a host. @param name as `names::host_name` gives it
pub fn ask(id: u16, name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend(id.to_be_bytes());
    message.extend([RECURSION_DESIRED, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(IPV4_ADDRESS);
    message
}

pub struct Answer {
    pub code: Code,
    pub addresses: Vec<Ipv4Addr>,
    /// Seconds.
    pub ttl: u32,
}

/// What was answered to a question of ours. None when it is no answer to it.
pub fn read_answer(question: &[u8], message: &[u8]) -> Option<Answer> {
    let header = message.get(..HEADER)?;
    if header[..2] != question[..2] || header[2] & RESPONSE == 0 || header[4..6] != [0, 1] {
        return None;
    }
    let section = message.get(HEADER..question.len())?;
    if !section.eq_ignore_ascii_case(&question[HEADER..]) {
        return None;
    }
    let code = match header[3] & 0x0f {
        0 => Code::Fine,
        3 => Code::NoSuchName,
        _ => Code::Failure,
    };
    let mut answer = Answer {
        code,
        addresses: Vec::new(),
        ttl: u32::MAX,
    };
    let mut at = question.len();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        let Some(record) = read_record(message, at) else {
            break; // truncated: what came is used
        };
        at = record.end;
        answer.ttl = answer.ttl.min(record.ttl);
        if let (IPV4_ADDRESS, Ok(octets)) = (record.kind, <[u8; 4]>::try_from(record.data)) {
            answer.addresses.push(Ipv4Addr::from(octets));
        }
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    #[test]
    fn what_is_asked_is_read_again_and_answered() {
        let question = ask(0x1234, "a.example.com");
        let parsed = Question::parse(&question).expect("a question");
        assert_eq!(
            (parsed.name.as_slice(), parsed.is_for_addresses),
            (b"a.example.com".as_slice(), true)
        );
        let message = parsed.answer(Code::Fine, &[ADDRESS; 40], 60);
        assert!(
            message.len() <= 512,
            "all that may come over UDP without anybody's asking for more"
        );
        let answer = read_answer(&question, &message).expect("an answer");
        assert_eq!(
            (answer.code, answer.addresses.len(), answer.ttl),
            (Code::Fine, MAX_ADDRESSES, 60)
        );
        let none = read_answer(&question, &parsed.answer(Code::NoSuchName, &[], 0)).expect("an answer");
        assert_eq!((none.code, none.addresses.len()), (Code::NoSuchName, 0));
    }

    #[test]
    fn names_of_aliases_are_passed_over() {
        let question = ask(1, "a.test");
        let mut message = question.clone();
        message[2] = RESPONSE;
        message[7] = 2;
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'b', 0xc0, 14]);
        message.extend([1, b'b', 0xc0, 14, 0, 1, 0, 1, 0, 0, 0, 50, 0, 4, 192, 0, 2, 7]);
        let answer = read_answer(&question, &message).expect("an answer");
        assert_eq!((answer.addresses.as_slice(), answer.ttl), ([ADDRESS].as_slice(), 9));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let question = ask(1, "a.test");
        let other = Question::parse(&ask(1, "b.test")).expect("a question");
        assert!(read_answer(&question, &other.answer(Code::Fine, &[ADDRESS], 1)).is_none());
        let another_id = Question::parse(&ask(2, "a.test")).expect("a question");
        assert!(read_answer(&question, &another_id.answer(Code::Fine, &[ADDRESS], 1)).is_none());
        assert!(read_answer(&question, &question).is_none());
    }

    /// Bytes from anywhere are read without harm.
    #[test]
    fn broken_messages_do_no_harm() {
        let question = ask(7, "a.example.com");
        let answer = Question::parse(&question)
            .expect("a question")
            .answer(Code::Fine, &[ADDRESS], 9);
        for message in [&question, &answer] {
            for cut in 0..message.len() {
                Question::parse(&message[..cut]);
                read_answer(&question, &message[..cut]);
                for value in [0, 0x3f, 0x40, 0xc0, 0xff] {
                    let mut broken = message.clone();
                    broken[cut] = value;
                    Question::parse(&broken);
                    read_answer(&question, &broken);
                }
            }
        }
    }
}
