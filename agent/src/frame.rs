//! The codec of PROTOCOL.md: frame types, their bounds, an incremental decoder and the encoders.

use crate::failure::Failure;
use crate::version::{FEATURES, VERSIONS};
use serde_json::json;
use std::fmt;

/// Unacknowledged bytes kept per output stream, and unaccepted bytes of stdin.
pub const WINDOW: usize = 256 << 10;
/// Data bytes in one frame this side sends: big enough to amortise the header, small enough to interleave streams.
pub const CHUNK: usize = 64 << 10;
/// Most bytes of a DATA frame, in both directions. Also what a stream to a port may hold of the agent's memory in each.
pub const PORT_CHUNK: usize = 32 << 10;
/// The longest DATA frame.
pub const PORT_FRAME: usize = HEADER + PORT_CHUNK;

const HEADER: usize = 5;
const DATA_BOUND: usize = WINDOW + 8;

pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;

/// What the server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Start,
    Attach,
    List,
    Stats,
    KillAll,
    Dial,
    Renew,
    Environment,
    Stdin,
    StdinEof,
    Ack,
    Resize,
    Signal,
    Release,
    Data,
    End,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            0x20 => Kind::Start,
            0x21 => Kind::Attach,
            0x22 => Kind::List,
            0x23 => Kind::Stats,
            0x24 => Kind::KillAll,
            0x25 => Kind::Dial,
            0x26 => Kind::Renew,
            0x27 => Kind::Environment,
            0x41 => Kind::Stdin,
            0x42 => Kind::StdinEof,
            0x43 => Kind::Ack,
            0x44 => Kind::Resize,
            0x45 => Kind::Signal,
            0x46 => Kind::Release,
            0x47 => Kind::Data,
            0x48 => Kind::End,
            _ => return None,
        })
    }

    /// Shortest and longest payload.
    fn bounds(self) -> (usize, usize) {
        match self {
            Kind::Start => (2, 8 << 20),
            Kind::Attach | Kind::List | Kind::Stats | Kind::KillAll | Kind::Dial | Kind::Renew | Kind::Environment => {
                (2, 1 << 10)
            }
            Kind::Stdin => (9, DATA_BOUND),
            Kind::StdinEof | Kind::Release | Kind::End => (0, 0),
            Kind::Data => (1, PORT_CHUNK),
            Kind::Ack => (9, 9),
            Kind::Resize => (4, 4),
            Kind::Signal => (2, 2),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    UnknownType(u8),
    Length { kind: Kind, length: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            FrameError::UnknownType(byte) => write!(f, "unknown frame type 0x{:02x}", byte),
            FrameError::Length { kind, length } => write!(f, "a {:?} frame cannot have {} bytes", kind, length),
        }
    }
}

/// Splits what arrives into frames. Holds at most one frame and one read beyond it.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame. After an error the decoder must not be used again.
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.start..];
        if bytes.len() < HEADER {
            return Ok(None);
        }
        let kind = Kind::of(bytes[0]).ok_or(FrameError::UnknownType(bytes[0]))?;
        let length = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
        let (least, most) = kind.bounds();
        if length < least || length > most {
            return Err(FrameError::Length { kind, length });
        }
        if bytes.len() < HEADER + length {
            return Ok(None);
        }
        let payload = bytes[HEADER..HEADER + length].to_vec();
        self.start += HEADER + length;
        if self.start == self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
            self.buffer.shrink_to(4 << 10);
        }
        Ok(Some(Frame { kind, payload }))
    }
}

/// A little-endian u64 at the front of a payload whose length the decoder checked.
pub fn leading_u64(payload: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&payload[..8]);
    u64::from_le_bytes(bytes)
}

fn push(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(HEADER + length);
    out.push(kind);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

pub fn hello(out: &mut Vec<u8>, pid: i32) {
    let (oldest, newest) = (VERSIONS.start(), VERSIONS.end());
    let json = json!({ "version": oldest, "maxVersion": newest, "features": FEATURES, "pid": pid });
    push(out, 0x01, &[json.to_string().as_bytes()]);
}

pub fn started(out: &mut Vec<u8>, pid: i32, accepted: u64, closed: bool, signals: u64) {
    let json = format!(
        "{{\"pid\":{},\"stdinAccepted\":{},\"stdinClosed\":{},\"signalsTaken\":{}}}",
        pid, accepted, closed, signals
    );
    push(out, 0x02, &[json.as_bytes()]);
}

pub fn error(out: &mut Vec<u8>, failure: &Failure) {
    // Well below the bound of 8 KiB even if every character needs a six-byte escape.
    let short: String = failure.message.chars().take(1200).collect();
    let json = json!({ "kind": failure.kind.as_str(), "message": short }).to_string();
    push(out, 0x03, &[json.as_bytes()]);
}

/// STDOUT or STDERR; the data comes as the two halves of a ring buffer.
pub fn output(out: &mut Vec<u8>, stream: u8, offset: u64, data: (&[u8], &[u8])) {
    push(out, 0x03 + stream, &[&offset.to_le_bytes(), data.0, data.1]);
}

pub fn eof(out: &mut Vec<u8>, stream: u8, length: u64) {
    push(out, 0x06, &[&[stream], &length.to_le_bytes()]);
}

pub fn stdin_ack(out: &mut Vec<u8>, accepted: u64, closed: bool) {
    push(out, 0x07, &[&accepted.to_le_bytes(), &[closed as u8]]);
}

pub fn exit(out: &mut Vec<u8>, signalled: bool, value: i32, timed_out: bool) {
    push(
        out,
        0x08,
        &[&[signalled as u8], &value.to_le_bytes(), &[timed_out as u8]],
    );
}

pub fn result(out: &mut Vec<u8>, json: &str) {
    push(out, 0x09, &[json.as_bytes()]);
}

pub fn connected(out: &mut Vec<u8>) {
    push(out, 0x0a, &[]);
}

/// At most PORT_CHUNK bytes from a port.
pub fn data(out: &mut Vec<u8>, bytes: &[u8]) {
    push(out, 0x0b, &[bytes]);
}

pub fn end(out: &mut Vec<u8>) {
    push(out, 0x0c, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, &[payload]);
        bytes
    }

    #[test]
    fn decodes_frames_however_they_are_cut() {
        let mut bytes = frame(0x22, b"{}");
        bytes.extend(frame(0x46, b""));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut kinds = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next().unwrap() {
                    kinds.push(frame.kind);
                }
            }
            assert_eq!(kinds, [Kind::List, Kind::Release]);
        }
    }

    #[test]
    fn refuses_unknown_types_and_lengths_out_of_bounds_before_the_payload_came() {
        let mut decoder = Decoder::default();
        decoder.push(&[0x7f, 0, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(FrameError::UnknownType(0x7f)));
        let mut decoder = Decoder::default();
        decoder.push(&[0x20, 1, 0, 0x80, 0]);
        assert_eq!(
            decoder.next(),
            Err(FrameError::Length {
                kind: Kind::Start,
                length: (8 << 20) + 1
            })
        );
        let mut decoder = Decoder::default();
        decoder.push(&frame(0x45, b"x"));
        assert_eq!(
            decoder.next(),
            Err(FrameError::Length {
                kind: Kind::Signal,
                length: 1
            })
        );
    }

    #[test]
    fn hello_fits_into_what_servers_read_of_it() {
        let mut out = Vec::new();
        hello(&mut out, i32::MAX);
        assert!(out.len() <= HEADER + (1 << 10), "{}", out.len());
        assert_eq!(
            out[HEADER..],
            *br#"{"features":["dial","checkpoint","files","environment","nameserver"],"maxVersion":1,"pid":2147483647,"version":1}"#
        );
    }

    #[test]
    fn an_error_stays_within_its_bound_whatever_the_message_is() {
        let mut out = Vec::new();
        error(&mut out, &Failure::invalid("\u{1}".repeat(100_000)));
        assert!(out.len() < 8 << 10, "{}", out.len());
        let mut out = Vec::new();
        error(&mut out, &Failure::invalid("\u{10000}".repeat(100_000)));
        assert!(out.len() < 8 << 10, "{}", out.len());
    }
}
