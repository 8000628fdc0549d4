//! Standard input of a process: what the server sent and the process has not taken yet, at most WINDOW bytes.

use crate::frame::WINDOW;
use crate::sys::{self, Epoll};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

#[derive(Debug, PartialEq, Eq)]
pub enum StdinError {
    Gap { offset: u64, expected: u64 },
    TooMuch,
}

impl fmt::Display for StdinError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            StdinError::Gap { offset, expected } => {
                write!(f, "stdin goes on at {}, but {} is next", offset, expected)
            }
            StdinError::TooMuch => write!(f, "more than {} bytes of stdin in flight", WINDOW),
        }
    }
}

pub struct Stdin {
    fd: Option<OwnedFd>,
    token: u64,
    terminal: bool,
    /// Whether more room was asked for.
    widened: bool,
    /// What epoll was asked for; `None`: not registered.
    interest: Option<u32>,
    buffer: VecDeque<u8>,
    accepted: u64,
    last: u8,
    eof: bool,
    /// What the last STDIN_ACK on this connection said.
    told: (u64, bool),
}

impl Stdin {
    /// `fd` must be non-blocking.
    pub fn new(fd: Option<OwnedFd>, token: u64, terminal: bool) -> Stdin {
        let told = (0, fd.is_none());
        Stdin {
            fd,
            token,
            terminal,
            widened: false,
            interest: None,
            buffer: VecDeque::new(),
            accepted: 0,
            last: b'\n',
            eof: false,
            told,
        }
    }

    /// Bytes the process took, and whether it takes no more. Saying it counts as telling the server.
    pub fn tell(&mut self) -> (u64, bool) {
        self.told = (self.accepted, self.fd.is_none());
        self.told
    }

    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Forgets what has not reached the process, and counts from 0 again.
    pub fn begin_anew(&mut self, epoll: &Epoll) {
        self.buffer = VecDeque::new();
        self.accepted = 0;
        self.watch(epoll);
    }

    /// True when a STDIN_ACK is due.
    pub fn has_news(&self) -> bool {
        self.told != (self.accepted, self.fd.is_none())
    }

    pub fn push(&mut self, epoll: &Epoll, offset: u64, data: &[u8]) -> Result<(), StdinError> {
        if self.fd.is_none() || self.eof {
            return Ok(());
        }
        let expected = self.accepted + self.buffer.len() as u64;
        if offset > expected {
            return Err(StdinError::Gap { offset, expected });
        }
        let seen = expected - offset;
        if seen >= data.len() as u64 {
            return Ok(());
        }
        let mut new = &data[seen as usize..];
        if self.buffer.len() + new.len() > WINDOW {
            return Err(StdinError::TooMuch);
        }
        if self.buffer.is_empty() {
            new = &new[self.give(epoll, new)..];
            if !new.is_empty() && self.widen() {
                new = &new[self.give(epoll, new)..];
            }
        }
        if self.fd.is_some() {
            self.buffer.extend(new);
        }
        self.watch(epoll);
        Ok(())
    }

    /// Gives the pipe room for all that may be in flight, once, when it did not take what came: each time that a program reads from a full one wakes this process, which tells the server, which sends more.
    /// False when it has no more room than before.
    fn widen(&mut self) -> bool {
        match &self.fd {
            Some(fd) if !self.terminal && !self.widened => {
                self.widened = true;
                sys::set_pipe_size(fd, WINDOW).is_ok() // refused where the user has too many large ones
            }
            _ => false,
        }
    }

    pub fn finish(&mut self, epoll: &Epoll) {
        self.eof = true;
        self.drain(epoll);
    }

    /// The descriptor is ready: go on writing, or notice that nobody reads any more.
    pub fn drain(&mut self, epoll: &Epoll) {
        while !self.buffer.is_empty() && self.fd.is_some() {
            let buffer = std::mem::take(&mut self.buffer);
            let count = self.give(epoll, buffer.as_slices().0);
            if self.fd.is_some() {
                self.buffer = buffer;
                self.buffer.drain(..count);
            }
            if count == 0 {
                break;
            }
        }
        if self.buffer.is_empty() {
            self.buffer = VecDeque::new();
            if self.eof {
                self.end(epoll);
            }
        }
        self.watch(epoll);
    }

    /// Nobody reads any more.
    pub fn close(&mut self, epoll: &Epoll) {
        if let Some(fd) = self.fd.take() {
            if self.interest.take().is_some() {
                epoll.remove(fd.as_raw_fd());
            }
        }
        self.buffer = VecDeque::new();
    }

    /// Writes what the process takes now; returns how much. Closes when it takes nothing any more.
    fn give(&mut self, epoll: &Epoll, data: &[u8]) -> usize {
        let mut given = 0;
        while let Some(fd) = &self.fd {
            if given == data.len() {
                break;
            }
            match sys::write(fd.as_raw_fd(), &data[given..]) {
                Ok(count) => given += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.close(epoll),
            }
        }
        self.accepted += given as u64;
        if given > 0 {
            self.last = data[given - 1];
        }
        given
    }

    /// Everything was written: a pipe is closed. A terminal gets its end-of-file character: on an unfinished line the
    /// first only hands the line over, so there it takes two.
    fn end(&mut self, epoll: &Epoll) {
        if let (true, Some(fd)) = (self.terminal, &self.fd) {
            let eof = super::pty::eof_character(fd);
            let twice = [eof, eof];
            let characters = if self.last == b'\n' { &twice[..1] } else { &twice[..] };
            // A terminal that takes not even this has a full input queue that nobody reads.
            let _ = sys::write(fd.as_raw_fd(), characters);
        }
        self.close(epoll);
    }

    /// A pipe is always registered, so that it is noticed when its reader goes; a terminal only while bytes wait,
    /// since its hang-up is the output stream's business.
    pub fn watch(&mut self, epoll: &Epoll) {
        let wanted = match (self.buffer.is_empty(), self.terminal) {
            (false, _) => Some(sys::WRITABLE),
            (true, false) => Some(0),
            (true, true) => None,
        };
        if let Some(fd) = &self.fd {
            let fd = fd.as_raw_fd();
            // Registering fails only when memory for it is missing; the next frame tries again.
            let done = match (self.interest, wanted) {
                (was, want) if was == want => return,
                (None, Some(interest)) => epoll.add(fd, interest, self.token).is_ok(),
                (Some(_), Some(interest)) => epoll.modify(fd, interest, self.token).is_ok(),
                (_, None) => {
                    epoll.remove(fd);
                    true
                }
            };
            if done {
                self.interest = wanted;
            }
        }
    }

    /// epoll reported an error on an idle pipe: its last reader is gone.
    pub fn reader_gone(&mut self, epoll: &Epoll) {
        if !self.terminal {
            self.close(epoll);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_replays_refuses_gaps_and_bounds_what_waits() {
        let epoll = Epoll::new().unwrap();
        let (reader, writer) = sys::pipe().unwrap();
        sys::set_nonblocking(&writer).unwrap();
        let mut stdin = Stdin::new(Some(writer), 1, false);
        stdin.push(&epoll, 0, b"hello").unwrap();
        stdin.push(&epoll, 2, b"llo wor").unwrap();
        stdin.push(&epoll, 0, b"he").unwrap();
        assert_eq!(
            stdin.push(&epoll, 10, b"x"),
            Err(StdinError::Gap {
                offset: 10,
                expected: 9
            })
        );
        assert_eq!(stdin.tell(), (9, false));
        let mut buffer = [0; 64];
        assert_eq!(sys::read(reader.as_raw_fd(), &mut buffer).unwrap(), 9);
        assert_eq!(&buffer[..9], b"hello wor");
        let big = vec![1; WINDOW];
        stdin.push(&epoll, 9, &big).unwrap();
        let accepted = stdin.tell().0;
        assert_eq!(accepted, 9 + WINDOW as u64, "the pipe was given room for all of it");
        stdin.push(&epoll, accepted, &big).unwrap();
        assert_eq!(stdin.tell(), (accepted, false));
        assert_eq!(
            stdin.push(&epoll, accepted + WINDOW as u64, b"x"),
            Err(StdinError::TooMuch)
        );
        drop(reader);
        stdin.drain(&epoll);
        assert!(stdin.has_news());
        assert_eq!(stdin.tell(), (accepted, true));
    }
}
