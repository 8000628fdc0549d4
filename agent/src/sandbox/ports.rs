//! The streams between the server and ports of the sandbox. Each has a connection of its own to the server, so that one that is stuck holds up no other: where one
//! side takes no more the agent reads no more from the other, and the kernel's buffers do the rest.

use super::agent::{Agent, Token};
use super::port::PortStream;
use super::timers::Timer;
use crate::failure::{ErrorKind, Failure};
use crate::frame::{self, Frame, Kind, PORT_CHUNK};
use crate::server::connection::Role;
use crate::sys;
use std::io;
use std::time::Duration;

/// Streams at once. Each takes two descriptors, and up to three chunks of memory while it is stuck.
const MOST_STREAMS: usize = 512;
/// A server that is well takes a connection at once, unless its queue is full.
const CONNECT_TIME: Duration = Duration::from_secs(10);

impl Agent {
    /// DIAL: begins to connect to the port. The answer comes when that is decided.
    pub(super) fn dial_port(&mut self, key: u64, number: u16) -> Result<(), Failure> {
        if self.stopping {
            return Err(Failure::new(ErrorKind::Resources, "the sandbox is stopping"));
        }
        if self.ports.len() >= MOST_STREAMS {
            let problem = format!("{} connections to ports of the sandbox are open already", MOST_STREAMS);
            return Err(Failure::new(ErrorKind::Resources, problem));
        }
        let port = self.new_key();
        let mut stream = PortStream::new(key, number, Token::Port(port).pack());
        stream.try_next(&self.epoll)?;
        stream.deadline = self.timers.after(CONNECT_TIME, Timer::Port(port));
        self.ports.insert(port, stream);
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.role = Role::Port(port);
        }
        Ok(())
    }

    /// Something happened to the socket of a stream.
    pub fn on_port(&mut self, port: u64, events: u32) {
        let stream = match self.ports.get_mut(&port) {
            Some(stream) => stream,
            None => return,
        };
        if !stream.is_connected() {
            return self.on_attempt(port);
        }
        let key = stream.connection;
        let drained = if events & (sys::WRITABLE | sys::GONE) != 0 {
            stream.drain()
        } else {
            Ok(())
        };
        if drained.and_then(|()| self.read_port(port)).is_err() {
            return self.drop_connection(key);
        }
        self.touch(Some(key));
        self.serve(key); // frames may be here already that had to wait
    }

    /// A frame on the connection of a stream.
    pub(super) fn on_port_frame(&mut self, key: u64, port: u64, frame: Frame) {
        let stream = match self.ports.get_mut(&port) {
            Some(stream) => stream,
            None => return self.drop_connection(key),
        };
        let wrong = match frame.kind {
            _ if !stream.is_connected() => Some("before the port was connected to"),
            Kind::Data | Kind::End if stream.has_end() => Some("after END"),
            Kind::Data | Kind::End => None,
            _ => Some("on a stream to a port"),
        };
        if let Some(wrong) = wrong {
            return self.refuse(key, &Failure::invalid(format!("{:?} {}", frame.kind, wrong)));
        }
        let passed = match frame.kind {
            Kind::Data => stream.push(frame.payload),
            _ => stream.end(),
        };
        match passed {
            Ok(()) => self.touch(Some(key)),
            // The program's side broke: the server learns it by a connection that closes before END.
            Err(_) => self.drop_connection(key),
        }
    }

    pub(super) fn on_port_timeout(&mut self, port: u64) {
        if let Some(stream) = self.ports.get_mut(&port) {
            stream.deadline = None;
            let (key, failure) = (stream.connection, stream.too_late());
            self.refuse(key, &failure);
        }
    }

    /// After all that happened to a stream, once what can be sent was sent: what is waited for from here on, and whether it is over.
    pub(super) fn settle_port(&mut self, port: u64) {
        let Agent {
            ports,
            connections,
            epoll,
            ..
        } = self;
        let stream = match ports.get_mut(&port) {
            Some(stream) if stream.is_connected() => stream,
            _ => return,
        };
        let key = stream.connection;
        let connection = match connections.get_mut(&key) {
            Some(connection) => connection,
            None => return,
        };
        if stream.is_over() {
            connection.role = Role::Closing;
            self.forget_port(port, PortStream::close);
            return self.touch(Some(key));
        }
        let watched = stream
            .watch(epoll, connection.pending() == 0)
            .and_then(|()| connection.set_reading(epoll, !stream.is_blocked()));
        if watched.is_err() {
            self.drop_connection(key);
        }
    }

    /// Its connection is gone, or will be: the program learns that the stream broke.
    pub(super) fn break_port(&mut self, port: u64) {
        self.forget_port(port, PortStream::reset);
    }

    fn forget_port(&mut self, port: u64, leave: impl FnOnce(&mut PortStream, &sys::Epoll)) {
        if let Some(mut stream) = self.ports.remove(&port) {
            if let Some(at) = stream.deadline {
                self.timers.cancel(at, Timer::Port(port));
            }
            leave(&mut stream, &self.epoll);
        }
    }

    fn on_attempt(&mut self, port: u64) {
        let Agent {
            ports,
            connections,
            epoll,
            timers,
            ..
        } = self;
        let stream = match ports.get_mut(&port) {
            Some(stream) => stream,
            None => return,
        };
        let key = stream.connection;
        match stream.on_attempt(epoll) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(at) = stream.deadline.take() {
                    timers.cancel(at, Timer::Port(port));
                }
                if let Some(connection) = connections.get_mut(&key) {
                    frame::connected(&mut connection.out);
                }
                self.touch(Some(key));
            }
            Err(failure) => self.refuse(key, &failure),
        }
    }

    /// Passes on what the program wrote, once what was read before has gone.
    fn read_port(&mut self, port: u64) -> io::Result<()> {
        let Agent {
            ports,
            connections,
            scratch,
            ..
        } = self;
        let stream = match ports.get_mut(&port) {
            Some(stream) => stream,
            None => return Ok(()),
        };
        match connections.get_mut(&stream.connection) {
            Some(connection) if connection.pending() == 0 => match stream.read(&mut scratch[..PORT_CHUNK])? {
                Some(0) => frame::end(&mut connection.out),
                Some(count) => frame::data(&mut connection.out, &scratch[..count]),
                None => {}
            },
            _ => {}
        }
        Ok(())
    }
}
