//! The connections to the server: kept in supply, read, written, given up.

use super::agent::{Agent, Token};
use super::port::PortStream;
use super::timers::Timer;
use crate::failure::Failure;
use crate::frame::{self, PORT_FRAME};
use crate::server::connection::{Connection, Role};
use crate::sys;
use std::io;

/// Idle connections kept open for the server to use.
const SPARES: usize = 2;
/// Output queued in a connection beyond what its socket took.
const QUEUED: usize = 64 << 10;

impl Agent {
    /// Opens connections until there are enough spares, or sets a timer to try again.
    pub fn dial(&mut self) {
        while !self.dialer.waiting && self.connections.values().filter(|it| it.role == Role::Spare).count() < SPARES {
            if self.dial_once().is_err() {
                self.dial_later();
            }
        }
    }

    fn dial_once(&mut self) -> io::Result<()> {
        let socket = self.dialer.dial()?;
        let key = self.new_key();
        let mut connection = Connection::new(socket, Token::Connection(key).pack(), &self.epoll)?;
        frame::hello(&mut connection.out, sys::own_pid());
        self.connections.insert(key, connection);
        self.touch(Some(key));
        Ok(())
    }

    fn dial_later(&mut self) {
        if !self.dialer.waiting {
            self.dialer.waiting = true;
            let delay = self.dialer.next_delay();
            self.timers.after(delay, Timer::Dial);
        }
    }

    /// A spare became a request's connection: replace it at once.
    pub fn spare_used(&mut self) {
        self.dialer.reset();
        self.dial();
    }

    /// Replaces the connections that a checkpoint took away: no event tells of that.
    pub fn look_at_connections(&mut self) {
        let gone = self.connections.iter().filter(|(_, it)| it.is_gone());
        for key in gone.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.drop_connection(key);
        }
        // The server is there, and waits.
        self.dialer.reset();
        self.dialer.waiting = false;
        self.dial();
    }

    pub fn drop_connection(&mut self, key: u64) {
        if let Some(connection) = self.connections.remove(&key) {
            connection.unwatch(&self.epoll);
            match connection.role {
                // The server went away, or does not want us: no hurry.
                Role::Spare => self.dial_later(),
                Role::Process(process) => {
                    if let Some(process) = self.processes.get_mut(&process) {
                        process.connection = None;
                    }
                }
                Role::Port(port) => self.break_port(port),
                Role::Closing => {}
            }
        }
    }

    /// Answers ERROR and closes the connection.
    pub fn refuse(&mut self, key: u64, failure: &Failure) {
        let role = match self.connections.get_mut(&key) {
            Some(connection) => {
                frame::error(&mut connection.out, failure);
                std::mem::replace(&mut connection.role, Role::Closing)
            }
            None => return,
        };
        self.touch(Some(key));
        match role {
            Role::Spare => self.spare_used(),
            Role::Process(process) => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.connection = None;
                }
            }
            Role::Port(port) => self.break_port(port),
            Role::Closing => {}
        }
    }

    pub fn on_connection(&mut self, key: u64, events: u32) {
        if events & sys::WRITABLE != 0 {
            self.touch(Some(key));
        }
        if events & !sys::WRITABLE == 0 {
            return;
        }
        let Agent {
            connections, scratch, ..
        } = self;
        let read = match connections.get_mut(&key) {
            // A server closes no stream that is not over, so there is nothing more to read: it gave the stream up.
            Some(connection) if matches!(connection.role, Role::Port(_)) && events & sys::GONE != 0 => Ok(0),
            Some(connection) if matches!(connection.role, Role::Port(_)) => connection.read(&mut scratch[..PORT_FRAME]),
            Some(connection) => connection.read(scratch),
            None => return,
        };
        match read {
            Ok(0) => self.drop_connection(key),
            Ok(_) => self.serve(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.drop_connection(key),
        }
    }

    /// Handles every whole frame that has arrived on a connection.
    pub(super) fn serve(&mut self, key: u64) {
        self.sweep_later();
        while let Some(connection) = self.connections.get_mut(&key) {
            match connection.role {
                Role::Closing => return,
                Role::Port(port) if self.ports.get(&port).is_some_and(PortStream::is_blocked) => return,
                _ => {}
            }
            match connection.decoder.next() {
                Ok(Some(frame)) => self.on_frame(key, frame),
                Ok(None) => return,
                Err(error) => return self.refuse(key, &Failure::invalid(error)),
            }
        }
    }

    /// Sends what is due on every touched connection, as few writes as possible.
    pub fn flush(&mut self) {
        while let Some(key) = self.touched.pop() {
            if self.flush_one(key).is_err() {
                self.drop_connection(key);
            }
        }
    }

    fn flush_one(&mut self, key: u64) -> io::Result<()> {
        let Agent {
            connections,
            processes,
            epoll,
            ..
        } = self;
        let connection = match connections.get_mut(&key) {
            Some(connection) => connection,
            None => return Ok(()),
        };
        loop {
            if let Role::Process(process) = connection.role {
                if let Some(process) = processes.get_mut(&process) {
                    let pending = connection.pending();
                    process.pump(&mut connection.out, pending, QUEUED);
                }
            }
            if connection.pending() == 0 {
                break;
            }
            connection.flush(epoll)?;
            if connection.pending() > 0 {
                break;
            }
        }
        match connection.role {
            Role::Closing if connection.pending() == 0 => self.drop_connection(key),
            Role::Port(port) => self.settle_port(port),
            _ => {}
        }
        Ok(())
    }
}
