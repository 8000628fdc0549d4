//! What is said between the server and this process. The other end is `server/src/platform/launcher-frames.ts`.
//!
//! A frame is the length of what follows (u32), its kind (u8), the command's number, which the server chose (u32), and a payload. All numbers are big-endian.
//!
//! | from the server | payload |
//! |---|---|
//! | 1 START | flags (u8): 1 has input, 2 its output is discarded; then as texts (u32 length, bytes): the working directory, empty for this process's own; after a count (u32) the arguments, the program first; after a count the variables, `NAME=value` |
//! | 2 INPUT | 1 when it is the last (u8), the bytes. The first may come at once, each further one after a WANT |
//! | 3 KILL | |
//!
//! | to the server | payload |
//! |---|---|
//! | 1 READY | number 0; first of all, before anything is started |
//! | 2 STARTED | process id (u32), which is its group's too |
//! | 3 FAILED | errno (i32) of a command that could not be started: its last frame |
//! | 4 STDOUT, 5 STDERR | the bytes |
//! | 6 WANT | |
//! | 7 EXIT | status (i32): its code, or less than 0 the signal that ended it; its last frame, after all of its output |

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;

/// Counts up with every change of what is said above.
pub const PROTOCOL: &str = "1";

/// Arguments and variables of one command are at most a few megabytes (execve(2)).
const MAX_LENGTH: usize = 16 << 20;
const HEADER: usize = 5;

pub struct Start {
    pub cwd: Option<OsString>,
    pub arguments: Vec<OsString>,
    /// `NAME=value`.
    pub variables: Vec<Vec<u8>>,
    pub has_input: bool,
    pub discards_output: bool,
}

pub enum Request {
    Start(Start),
    Input { bytes: Vec<u8>, last: bool },
    Kill,
}

#[derive(Clone, Copy)]
pub enum Stream {
    Stdout,
    Stderr,
}

pub enum Answer<'a> {
    Ready,
    Started(u32),
    Failed(i32),
    Output(Stream, &'a [u8]),
    Want,
    Exit(i32),
}

/// What the server sent is not of this protocol.
pub struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the server sent what is no frame")
    }
}

/// The first frame of what was received, once it is whole: its length, the command's number and what is asked.
pub fn first(received: &[u8]) -> Result<Option<(usize, u32, Request)>, Malformed> {
    let Ok(length) = Fields(received).number() else {
        return Ok(None);
    };
    let length = length as usize;
    if !(HEADER..=MAX_LENGTH).contains(&length) {
        return Err(Malformed);
    }
    let Some(frame) = received.get(4..4 + length) else {
        return Ok(None);
    };
    let (id, request) = parse(frame)?;
    Ok(Some((4 + length, id, request)))
}

fn parse(frame: &[u8]) -> Result<(u32, Request), Malformed> {
    let mut fields = Fields(frame);
    let kind = fields.byte()?;
    let id = fields.number()?;
    let request = match kind {
        1 => {
            let flags = fields.byte()?;
            let cwd = fields.text()?;
            Request::Start(Start {
                cwd: (!cwd.is_empty()).then(|| OsString::from_vec(cwd)),
                arguments: fields.texts()?.into_iter().map(OsString::from_vec).collect(),
                variables: fields.texts()?,
                has_input: flags & 1 != 0,
                discards_output: flags & 2 != 0,
            })
        }
        2 => Request::Input {
            last: fields.byte()? == 1,
            bytes: fields.0.to_vec(),
        },
        3 => Request::Kill,
        _ => return Err(Malformed),
    };
    Ok((id, request))
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes(&mut self, length: usize) -> Result<&[u8], Malformed> {
        if self.0.len() < length {
            return Err(Malformed);
        }
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        let mut number = [0; 4];
        number.copy_from_slice(self.bytes(4)?);
        Ok(u32::from_be_bytes(number))
    }

    fn text(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.number()? as usize;
        Ok(self.bytes(length)?.to_vec())
    }

    fn texts(&mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        (0..self.number()?).map(|_| self.text()).collect()
    }
}

/// Puts a frame behind those that wait to be sent.
pub fn put(answer: Answer, id: u32, sending: &mut VecDeque<u8>) {
    let number;
    let (kind, payload): (u8, &[u8]) = match answer {
        Answer::Ready => (1, &[]),
        Answer::Started(pid) => {
            number = pid.to_be_bytes();
            (2, &number)
        }
        Answer::Failed(errno) => {
            number = errno.to_be_bytes();
            (3, &number)
        }
        Answer::Output(Stream::Stdout, bytes) => (4, bytes),
        Answer::Output(Stream::Stderr, bytes) => (5, bytes),
        Answer::Want => (6, &[]),
        Answer::Exit(status) => {
            number = status.to_be_bytes();
            (7, &number)
        }
    };
    let length = (HEADER + payload.len()) as u32;
    sending.extend(length.to_be_bytes());
    sending.extend([kind]);
    sending.extend(id.to_be_bytes());
    sending.extend(payload);
}
