//! One stream between the server and a port of the sandbox: the agent's socket to the program, and what it has not taken yet.

use crate::failure::{ErrorKind, Failure};
use crate::sys::{self, Epoll};
use crate::tcp::{self, OwnAddresses};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::Instant;

pub struct PortStream {
    /// Key of the connection that carries it.
    pub connection: u64,
    number: u16,
    token: u64,
    /// Until it is connected: where it may be tried next.
    addresses: Option<OwnAddresses>,
    /// When it is no longer waited for.
    pub deadline: Option<Instant>,
    /// None between two attempts, and once it was closed.
    socket: Option<OwnedFd>,
    /// What epoll was asked for; `None`: not registered.
    interest: Option<u32>,
    /// What the program has not taken, at most one frame.
    out: Vec<u8>,
    written: usize,
    /// The server's END has come; it was passed on.
    end_came: bool,
    end_passed: bool,
    /// The program ended its stream.
    program_ended: bool,
}

impl PortStream {
    pub fn new(connection: u64, number: u16, token: u64) -> PortStream {
        PortStream {
            connection,
            number,
            token,
            addresses: Some(OwnAddresses::new()),
            deadline: None,
            socket: None,
            interest: None,
            out: Vec::new(),
            written: 0,
            end_came: false,
            end_passed: false,
            program_ended: false,
        }
    }

    pub fn is_connected(&self) -> bool {
        self.addresses.is_none()
    }

    /// The program takes no more for now: neither must the agent.
    pub fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// The server has nothing more to say.
    pub fn has_end(&self) -> bool {
        self.end_came
    }

    /// Both directions came to their end, and all was passed on.
    pub fn is_over(&self) -> bool {
        self.program_ended && self.end_passed
    }

    /// Begins to connect to the next address where a server may listen.
    pub fn try_next(&mut self, epoll: &Epoll) -> Result<(), Failure> {
        self.close(epoll);
        while let Some(ip) = self.addresses.as_mut().and_then(Iterator::next) {
            let begun = tcp::connect(ip, self.number).and_then(|socket| {
                epoll.add(socket.as_raw_fd(), sys::WRITABLE, self.token)?;
                Ok(socket)
            });
            match begun {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.interest = Some(sys::WRITABLE);
                    return Ok(());
                }
                Err(error) if ErrorKind::of_system(&error) == ErrorKind::Resources => {
                    let problem = format!("cannot connect to port {}: {}", self.number, error);
                    return Err(Failure::new(ErrorKind::Resources, problem));
                }
                // Not a place where this sandbox has a server, whatever the reason.
                Err(_) => {}
            }
        }
        let problem = format!("nothing in the sandbox listens on port {}", self.number);
        Err(Failure::new(ErrorKind::Refused, problem))
    }

    /// The socket is writable, or failed. True once it is connected; false while another address is tried.
    pub fn on_attempt(&mut self, epoll: &Epoll) -> Result<bool, Failure> {
        match &self.socket {
            Some(socket) if tcp::outcome(socket).is_ok() => {
                self.addresses = None;
                Ok(true)
            }
            _ => self.try_next(epoll).map(|()| false),
        }
    }

    pub fn too_late(&self) -> Failure {
        let problem = format!("what listens on port {} does not take connections", self.number);
        Failure::new(ErrorKind::TimedOut, problem)
    }

    /// Gives the program what it takes now and keeps the rest. All that came before must have been taken.
    pub fn push(&mut self, data: Vec<u8>) -> io::Result<()> {
        self.out = data;
        self.written = 0;
        self.drain()
    }

    /// No more comes from the server.
    pub fn end(&mut self) -> io::Result<()> {
        self.end_came = true;
        self.drain()
    }

    /// Goes on giving.
    pub fn drain(&mut self) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => return Ok(()),
        };
        while self.written < self.out.len() {
            match sys::write(socket.as_raw_fd(), &self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        self.written = 0;
        if self.end_came && !self.end_passed {
            tcp::end_writing(socket)?;
            self.end_passed = true;
        }
        Ok(())
    }

    /// Reads once. `Ok(Some(0))`: the program ended its stream. `Ok(None)`: there is nothing now.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        let socket = match &self.socket {
            Some(socket) if !self.program_ended => socket,
            _ => return Ok(None),
        };
        match sys::read(socket.as_raw_fd(), scratch) {
            Ok(count) => {
                self.program_ended = count == 0;
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for what can be dealt with and for nothing else: a socket that is over on both sides would be told as such without end.
    pub fn watch(&mut self, epoll: &Epoll, room: bool) -> io::Result<()> {
        let mut interest = 0;
        if room && !self.program_ended {
            interest |= sys::READABLE;
        }
        if self.is_blocked() {
            interest |= sys::WRITABLE;
        }
        let wanted = Some(interest).filter(|interest| *interest != 0);
        let fd = match &self.socket {
            Some(socket) => socket.as_raw_fd(),
            None => return Ok(()),
        };
        match (self.interest, wanted) {
            (was, want) if was == want => {}
            (None, Some(interest)) => epoll.add(fd, interest, self.token)?,
            (Some(_), Some(interest)) => epoll.modify(fd, interest, self.token)?,
            (_, None) => epoll.remove(fd),
        }
        self.interest = wanted;
        Ok(())
    }

    /// Lets go of the socket; the program reads the end of the stream, if it has not already.
    pub fn close(&mut self, epoll: &Epoll) {
        self.unwatch(epoll);
        self.socket = None;
    }

    /// Lets go of the socket; the program learns that the stream broke.
    pub fn reset(&mut self, epoll: &Epoll) {
        self.unwatch(epoll);
        if let Some(socket) = self.socket.take() {
            tcp::reset(socket);
        }
    }

    /// Before it is closed, since a child that has not reached exec yet may hold a copy.
    fn unwatch(&mut self, epoll: &Epoll) {
        if let (Some(socket), Some(_)) = (&self.socket, self.interest.take()) {
            epoll.remove(socket.as_raw_fd());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{Shutdown, TcpListener, TcpStream};

    const WAIT_MS: i32 = 10_000;

    /// What epoll tells of the one socket in it; 0 when nothing does for that long.
    fn told(epoll: &Epoll, timeout_ms: i32) -> u32 {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }];
        match epoll.wait(&mut events, timeout_ms).unwrap() {
            0 => 0,
            _ => events[0].events,
        }
    }

    /// A stream to a program, and the program's end.
    fn connected(epoll: &Epoll) -> (PortStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = PortStream::new(1, listener.local_addr().unwrap().port(), 2);
        stream.try_next(epoll).unwrap();
        assert_ne!(told(epoll, WAIT_MS), 0);
        assert_eq!(stream.on_attempt(epoll), Ok(true));
        (stream, listener.accept().unwrap().0)
    }

    #[test]
    fn goes_from_address_to_address_until_one_listens() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let epoll = Epoll::new().unwrap();
        let mut stream = PortStream::new(1, listener.local_addr().unwrap().port(), 2);
        stream.try_next(&epoll).unwrap();
        while !stream.is_connected() {
            assert_ne!(told(&epoll, WAIT_MS), 0);
            stream.on_attempt(&epoll).unwrap();
        }
        drop(listener);
        stream.close(&epoll);
        let mut stream = PortStream::new(1, stream.number, 2);
        let mut outcome = stream.try_next(&epoll).map(|()| false);
        while outcome == Ok(false) {
            assert_ne!(told(&epoll, WAIT_MS), 0);
            outcome = stream.on_attempt(&epoll);
        }
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Refused);
    }

    #[test]
    fn keeps_what_the_program_does_not_take_and_passes_the_end_on_behind_it() {
        let epoll = Epoll::new().unwrap();
        let (mut stream, mut program) = connected(&epoll);
        let mut sent = 0;
        while !stream.is_blocked() {
            stream.push(vec![7; 32 << 10]).unwrap();
            sent += 32 << 10;
        }
        stream.end().unwrap();
        assert!(stream.is_blocked() && !stream.end_passed);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            program.read_to_end(&mut all).unwrap();
            (all.len(), program)
        });
        while stream.is_blocked() {
            stream.watch(&epoll, false).unwrap();
            assert_eq!(told(&epoll, WAIT_MS), sys::WRITABLE);
            stream.drain().unwrap();
        }
        assert_eq!(reader.join().unwrap().0, sent);
    }

    #[test]
    fn is_over_when_both_have_ended_and_asks_for_nothing_then() {
        let epoll = Epoll::new().unwrap();
        let (mut stream, program) = connected(&epoll);
        stream.end().unwrap();
        program.shutdown(Shutdown::Write).unwrap();
        stream.watch(&epoll, true).unwrap();
        assert_ne!(told(&epoll, WAIT_MS), 0);
        // What came is not wanted now: that it is over on both sides must not be told again and again.
        stream.watch(&epoll, false).unwrap();
        assert_eq!(told(&epoll, 0), 0);
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), Some(0));
        assert!(stream.is_over());
    }

    #[test]
    fn a_reset_is_no_end() {
        let epoll = Epoll::new().unwrap();
        for (broken, expected) in [(true, Some(libc::ECONNRESET)), (false, None)] {
            let (mut stream, mut program) = connected(&epoll);
            if broken {
                stream.reset(&epoll);
            } else {
                stream.close(&epoll);
            }
            let outcome = program.read(&mut [0; 8]);
            assert_eq!(outcome.err().and_then(|error| error.raw_os_error()), expected);
        }
    }
}
