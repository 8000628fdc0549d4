//! What a command reads, a piece at a time.

use crate::sys;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::io::{AsRawFd, OwnedFd};

pub struct Input {
    pipe: File,
    piece: Vec<u8>,
    written: usize,
    /// Whether no piece comes after this one.
    last: bool,
}

/// What became of a piece.
#[derive(PartialEq)]
pub enum Fed {
    Waits,
    /// All of it is written, and there is more.
    Wants,
    /// All of it is written, or it is read no more.
    Closed,
}

impl Input {
    pub fn new(pipe: OwnedFd) -> io::Result<Input> {
        sys::set_nonblocking(pipe.as_raw_fd())?;
        Ok(Input {
            pipe: pipe.into(),
            piece: Vec::new(),
            written: 0,
            last: false,
        })
    }

    pub fn give(&mut self, piece: Vec<u8>, last: bool) {
        (self.piece, self.written, self.last) = (piece, 0, last);
    }

    /// Writes as much as there is room for.
    pub fn feed(&mut self) -> Fed {
        while self.written < self.piece.len() {
            match self.pipe.write(&self.piece[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fed::Waits,
                Err(_) => return Fed::Closed, // the command reads no more: its status tells
            }
        }
        if self.last {
            Fed::Closed
        } else {
            Fed::Wants
        }
    }

    /// What to wait for before the next `feed`; nothing while the server has the next piece.
    pub fn waits_for(&self) -> Option<&File> {
        (self.written < self.piece.len()).then_some(&self.pipe)
    }

    /// Whether the server has more of it.
    pub fn is_partial(&self) -> bool {
        !self.last
    }
}
