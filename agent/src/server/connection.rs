//! One connection to the server: first a spare, then one request's own.

use crate::frame::Decoder;
use crate::sys::{self, Epoll};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Said HELLO and waits for its request.
    Spare,
    /// Attached to the process with this key.
    Process(u64),
    /// Carries the stream to a port with this key.
    Port(u64),
    /// Has said all it had to say; closes once that is written.
    Closing,
}

pub struct Connection {
    fd: OwnedFd,
    token: u64,
    pub role: Role,
    pub decoder: Decoder,
    /// Frames to send.
    pub out: Vec<u8>,
    written: usize,
    /// False while what came before has nowhere to go.
    reading: bool,
    interest: u32,
}

impl Connection {
    /// Takes over a connected, non-blocking socket.
    pub fn new(fd: OwnedFd, token: u64, epoll: &Epoll) -> io::Result<Connection> {
        epoll.add(fd.as_raw_fd(), sys::READABLE, token)?;
        Ok(Connection {
            fd,
            token,
            role: Role::Spare,
            decoder: Decoder::default(),
            out: Vec::new(),
            written: 0,
            reading: true,
            interest: sys::READABLE,
        })
    }

    /// Whether the server has let go of it, or a checkpoint has: of that no event tells.
    pub fn is_gone(&self) -> bool {
        sys::is_gone(&self.fd)
    }

    /// Bytes that wait to be written.
    pub fn pending(&self) -> usize {
        self.out.len() - self.written
    }

    /// Reads once. `Ok(0)`: the server closed it.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let count = sys::read(self.fd.as_raw_fd(), scratch)?;
        self.decoder.push(&scratch[..count]);
        Ok(count)
    }

    /// Writes what the socket takes. Waits for room exactly while something is left.
    pub fn flush(&mut self, epoll: &Epoll) -> io::Result<()> {
        while self.pending() > 0 {
            match sys::write(self.fd.as_raw_fd(), &self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.pending() == 0 {
            self.out.clear();
            self.written = 0;
        }
        self.watch(epoll)
    }

    /// Reads no more until it is told to: then the kernel holds the server back.
    pub fn set_reading(&mut self, epoll: &Epoll, reading: bool) -> io::Result<()> {
        self.reading = reading;
        self.watch(epoll)
    }

    fn watch(&mut self, epoll: &Epoll) -> io::Result<()> {
        let mut interest = if self.reading { sys::READABLE } else { 0 };
        if self.pending() > 0 {
            interest |= sys::WRITABLE;
        }
        if interest != self.interest {
            epoll.modify(self.fd.as_raw_fd(), interest, self.token)?;
            self.interest = interest;
        }
        Ok(())
    }

    /// Takes it out of epoll before it is dropped, since a child that has not reached exec yet may hold a copy.
    pub fn unwatch(&self, epoll: &Epoll) {
        epoll.remove(self.fd.as_raw_fd());
    }

    pub fn free_spare_memory(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }
}
