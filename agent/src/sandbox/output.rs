//! One output stream of a process: what was read from the pipe and not yet acknowledged by the server, at most WINDOW bytes.

use crate::frame::WINDOW;
use crate::sys::{self, Epoll};
use std::collections::VecDeque;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// Contiguous bytes that lie around the seam of a ring buffer.
pub type Halves<'a> = (&'a [u8], &'a [u8]);

pub struct Output {
    fd: Option<OwnedFd>,
    token: u64,
    registered: bool,
    /// The bytes from `start` on.
    window: VecDeque<u8>,
    start: u64,
    /// Offset of the next byte to send on the current connection.
    sent: u64,
    eof_sent: bool,
    /// Where the stream ends although others may still write: set by `cut`.
    limit: Option<u64>,
    /// The descriptor of a stream that was cut, until somebody takes it.
    leftover: Option<OwnedFd>,
}

impl Output {
    /// Without a descriptor the stream is at its end from the beginning. `fd` must be non-blocking.
    pub fn new(fd: Option<OwnedFd>, token: u64) -> Output {
        Output {
            fd,
            token,
            registered: false,
            window: VecDeque::new(),
            start: 0,
            sent: 0,
            eof_sent: false,
            limit: None,
            leftover: None,
        }
    }

    pub fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    /// Bytes produced so far.
    pub fn end(&self) -> u64 {
        self.start + self.window.len() as u64
    }

    pub fn at_eof(&self) -> bool {
        self.fd.is_none()
    }

    pub fn free_spare_memory(&mut self) {
        if self.window.is_empty() {
            self.window = VecDeque::new();
        }
    }

    /// Waits for output exactly while there is room for it. A full window must not stay registered: epoll reports a hang-up
    /// whatever one asks for, and would spin.
    pub fn watch(&mut self, epoll: &Epoll) -> io::Result<()> {
        if let Some(fd) = &self.fd {
            let wanted = self.window.len() < WINDOW;
            if wanted && !self.registered {
                epoll.add(fd.as_raw_fd(), sys::READABLE, self.token)?;
            } else if !wanted && self.registered {
                epoll.remove(fd.as_raw_fd());
            }
            self.registered = wanted;
        }
        Ok(())
    }

    /// Reads once, into what room there is. `Ok(false)`: there was nothing to read just now.
    pub fn fill(&mut self, epoll: &Epoll, scratch: &mut [u8]) -> io::Result<bool> {
        let left = self.limit.map_or(u64::MAX, |limit| limit - self.end());
        let room = (WINDOW - self.window.len()).min(scratch.len()).min(left as usize);
        let fd = match &self.fd {
            Some(fd) if room > 0 => fd.as_raw_fd(),
            _ => return Ok(false),
        };
        match sys::read(fd, &mut scratch[..room]) {
            Ok(0) => self.close(epoll),
            Ok(count) => self.window.extend(&scratch[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A stream that was cut has no more than this, whatever was promised.
                self.limit = self.limit.map(|_| self.end());
                self.end_at_limit(epoll);
                return Ok(false);
            }
            // A terminal whose last user is gone answers EIO; after any other error there is nothing more to get either.
            Err(_) => self.close(epoll),
        }
        self.end_at_limit(epoll);
        self.watch(epoll)?;
        Ok(true)
    }

    /// The process is gone: the stream ends with what its pipe holds now. Whoever else can write to it may go on, but not to this
    /// stream: once that is read, the descriptor waits in `take_leftover`.
    pub fn cut(&mut self, epoll: &Epoll) {
        if let (Some(fd), None) = (&self.fd, self.limit) {
            self.limit = Some(self.end() + sys::readable_bytes(fd));
            self.end_at_limit(epoll);
        }
    }

    fn end_at_limit(&mut self, epoll: &Epoll) {
        if self.limit == Some(self.end()) {
            self.leftover = self.unregister(epoll);
        }
    }

    /// Forgets what was read so far: the stream begins with what comes next. Failing to register is as in `rewind`.
    pub fn begin_anew(&mut self, epoll: &Epoll) {
        self.limit = self.limit.map(|limit| limit - self.end());
        self.window = VecDeque::new();
        (self.start, self.sent, self.eof_sent) = (0, 0, false);
        let _ = self.watch(epoll);
    }

    /// The descriptor of a stream that ended before its last writer, not registered any more.
    pub fn take_leftover(&mut self) -> Option<OwnedFd> {
        self.leftover.take()
    }

    /// Ends the stream where it is and gives its descriptor away.
    pub fn give_up(&mut self, epoll: &Epoll) -> Option<OwnedFd> {
        self.unregister(epoll).or_else(|| self.leftover.take())
    }

    /// The stream ends here, whoever may still hold its other end.
    pub fn close(&mut self, epoll: &Epoll) {
        drop(self.unregister(epoll));
    }

    fn unregister(&mut self, epoll: &Epoll) -> Option<OwnedFd> {
        let fd = self.fd.take()?;
        if self.registered {
            epoll.remove(fd.as_raw_fd());
        }
        self.registered = false;
        Some(fd)
    }

    pub fn keeps(&self, offset: u64) -> bool {
        (self.start..=self.end()).contains(&offset)
    }

    /// Starts sending anew from `offset`, which must be kept, for a new connection. That acknowledges what is below: a server that had
    /// stored a full window before the old connection broke would otherwise wait for output, and the agent for its ACK.
    pub fn rewind(&mut self, offset: u64) {
        debug_assert!(self.keeps(offset));
        self.sent = offset;
        self.eof_sent = false;
        self.acknowledge(offset);
    }

    /// Forgets everything below `offset`. False when the server acknowledges what it was never sent.
    pub fn acknowledge(&mut self, offset: u64) -> bool {
        if offset > self.sent {
            return false;
        }
        if offset > self.start {
            self.window.drain(..(offset - self.start) as usize);
            self.start = offset;
            if self.fd.is_none() {
                self.free_spare_memory();
            }
        }
        true
    }

    /// Up to `most` bytes that were not sent on this connection yet, with their offset; counts them as sent.
    pub fn take(&mut self, most: usize) -> Option<(u64, Halves<'_>)> {
        let from = (self.sent - self.start) as usize;
        let count = (self.window.len() - from).min(most);
        if count == 0 {
            return None;
        }
        let offset = self.sent;
        self.sent += count as u64;
        let (front, back) = self.window.as_slices();
        let (end, split) = (from + count, front.len());
        Some((
            offset,
            (
                &front[from.min(split)..end.min(split)],
                &back[from.saturating_sub(split)..end.saturating_sub(split)],
            ),
        ))
    }

    /// The length of the stream, once, when it ended and everything was sent.
    pub fn take_eof(&mut self) -> Option<u64> {
        if self.fd.is_some() || self.eof_sent || self.sent < self.end() {
            return None;
        }
        self.eof_sent = true;
        Some(self.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(output: &mut Output, most: usize) -> Option<(u64, Vec<u8>)> {
        output.take(most).map(|(offset, (a, b))| (offset, [a, b].concat()))
    }

    fn stream() -> (Epoll, OwnedFd, Output) {
        let (reader, writer) = sys::pipe().unwrap();
        sys::set_nonblocking(&reader).unwrap();
        (Epoll::new().unwrap(), writer, Output::new(Some(reader), 7))
    }

    #[test]
    fn sends_from_any_kept_offset_and_forgets_what_is_acknowledged() {
        let (epoll, writer, mut output) = stream();
        let mut scratch = [0; 64];
        sys::write(writer.as_raw_fd(), b"0123456789").unwrap();
        assert!(output.fill(&epoll, &mut scratch).unwrap());
        assert!(!output.fill(&epoll, &mut scratch).unwrap());
        assert_eq!(sent(&mut output, 4), Some((0, b"0123".to_vec())));
        assert!(!output.acknowledge(5), "5 was not sent");
        assert!(output.acknowledge(3));
        assert!(!output.keeps(2), "2 was forgotten");
        output.rewind(3);
        assert_eq!(sent(&mut output, 100), Some((3, b"3456789".to_vec())));
        assert_eq!(sent(&mut output, 100), None);
        assert_eq!(output.take_eof(), None);
        drop(writer);
        output.fill(&epoll, &mut scratch).unwrap();
        assert_eq!(output.take_eof(), Some(10));
        assert_eq!(output.take_eof(), None);
        output.rewind(10);
        assert_eq!(output.take_eof(), Some(10));
    }

    #[test]
    fn keeps_order_across_the_seam_of_the_ring() {
        let (epoll, writer, mut output) = stream();
        let mut scratch = [0; 1000];
        let mut expected = 0u8;
        for round in 0..2000u64 {
            let data: Vec<u8> = (0..777).map(|i| (round * 777 + i) as u8).collect();
            sys::write(writer.as_raw_fd(), &data).unwrap();
            output.fill(&epoll, &mut scratch).unwrap();
            while let Some((offset, data)) = sent(&mut output, 500) {
                for byte in &data {
                    assert_eq!(*byte, expected);
                    expected = expected.wrapping_add(1);
                }
                assert!(output.acknowledge(offset + data.len() as u64 / 2));
            }
        }
    }

    #[test]
    fn begins_anew_with_what_comes_next() {
        let (epoll, writer, mut output) = stream();
        let mut scratch = vec![0; WINDOW];
        for _ in 0..WINDOW / 4096 {
            sys::write(writer.as_raw_fd(), &[0; 4096]).unwrap();
            output.fill(&epoll, &mut scratch).unwrap();
        }
        output.cut(&epoll);
        assert!(output.at_eof(), "nothing is in its pipe");
        output.begin_anew(&epoll);
        assert_eq!(output.take_eof(), Some(0));
        drop(writer);

        let (epoll, writer, mut output) = stream();
        sys::write(writer.as_raw_fd(), b"old").unwrap();
        output.fill(&epoll, &mut scratch).unwrap();
        assert_eq!(sent(&mut output, 2), Some((0, b"ol".to_vec())));
        output.begin_anew(&epoll);
        sys::write(writer.as_raw_fd(), b"new").unwrap();
        output.fill(&epoll, &mut scratch).unwrap();
        assert_eq!(sent(&mut output, 9), Some((0, b"new".to_vec())));
    }

    #[test]
    fn stops_reading_at_the_window() {
        let (epoll, writer, mut output) = stream();
        sys::set_nonblocking(&writer).unwrap();
        let mut scratch = vec![0; 64 << 10];
        loop {
            let wrote = sys::write(writer.as_raw_fd(), &[0; 4096]);
            let read = output.fill(&epoll, &mut scratch).unwrap();
            if wrote.is_err() && !read {
                break;
            }
        }
        assert_eq!(output.end(), WINDOW as u64);
    }

    #[test]
    fn a_cut_stream_ends_with_what_the_pipe_held() {
        let (epoll, writer, mut output) = stream();
        let mut scratch = [0; 4];
        sys::write(writer.as_raw_fd(), b"012345").unwrap();
        output.cut(&epoll);
        sys::write(writer.as_raw_fd(), b"later").unwrap();
        assert!(!output.at_eof());
        while output.fill(&epoll, &mut scratch).unwrap() {}
        assert!(output.at_eof());
        assert_eq!(sent(&mut output, 100), Some((0, b"012345".to_vec())));
        assert_eq!(output.take_eof(), Some(6));
        let leftover = output.take_leftover().expect("the writer goes on");
        assert_eq!(sys::read(leftover.as_raw_fd(), &mut [0; 100]).unwrap(), 5);
    }

    #[test]
    fn a_cut_stream_with_an_empty_pipe_is_at_its_end() {
        let (epoll, writer, mut output) = stream();
        output.cut(&epoll);
        assert!(output.at_eof());
        assert!(output.take_leftover().is_some());
        drop(writer);
    }

    #[test]
    fn a_new_connection_that_has_everything_makes_room() {
        let (epoll, writer, mut output) = stream();
        let mut scratch = vec![0; WINDOW];
        for _ in 0..WINDOW / 4096 {
            sys::write(writer.as_raw_fd(), &[0; 4096]).unwrap();
            output.fill(&epoll, &mut scratch).unwrap();
        }
        assert_eq!(output.end(), WINDOW as u64);
        assert!(!output.fill(&epoll, &mut scratch).unwrap(), "the window is full");
        output.rewind(WINDOW as u64);
        assert!(!output.keeps(WINDOW as u64 - 1));
    }
}
