//! The agent's state and what each event does to it. One thread, one epoll: nothing here blocks.

use super::process::{Channel, Exit, Phase, Process};
use super::spawn::Template;
use super::timers::{Timer, Timers};
use super::tree;
use crate::frame;
use crate::server::connection::{Connection, Role};
use crate::server::dialer::Dialer;
use crate::sys::{self, Ending, Epoll};
use libc::pid_t;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

/// Idle connections kept open for the server to use.
const SPARES: usize = 2;
/// Finished processes kept for a server that has not released them.
const FINISHED_KEPT: usize = 4096;
/// Output queued in a connection beyond what its socket took.
const QUEUED: usize = 64 << 10;
/// How long a terminal may take to hand over its last output after its session leader died.
const DRAIN_DELAY: Duration = Duration::from_millis(200);
const SWEEP_DELAY: Duration = Duration::from_secs(1);
const STOP_DELAY: Duration = Duration::from_secs(2);

/// What an epoll token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Signals,
    Connection(u64),
    Process(u64, Channel),
}

impl Token {
    pub fn pack(self) -> u64 {
        match self {
            Token::Signals => 0,
            Token::Connection(key) => key << 3 | 1,
            Token::Process(key, Channel::Report) => key << 3 | 2,
            Token::Process(key, Channel::Stdin) => key << 3 | 3,
            Token::Process(key, Channel::Stdout) => key << 3 | 4,
            Token::Process(key, Channel::Stderr) => key << 3 | 5,
        }
    }

    pub fn unpack(token: u64) -> Token {
        let key = token >> 3;
        match token & 7 {
            0 => Token::Signals,
            1 => Token::Connection(key),
            2 => Token::Process(key, Channel::Report),
            3 => Token::Process(key, Channel::Stdin),
            4 => Token::Process(key, Channel::Stdout),
            _ => Token::Process(key, Channel::Stderr),
        }
    }
}

pub struct Agent {
    pub epoll: Epoll,
    pub template: Template,
    pub timers: Timers,
    dialer: Dialer,
    pub connections: HashMap<u64, Connection>,
    pub processes: HashMap<u64, Process>,
    pub ids: HashMap<String, u64>,
    pub pids: HashMap<pid_t, u64>,
    /// Finished processes, oldest first.
    finished: VecDeque<u64>,
    /// Keys are never used twice, so that an event of something that is gone finds nothing.
    last_key: u64,
    /// Connections that may have something to send.
    touched: Vec<u64>,
    scratch: Vec<u8>,
    sweep_set: bool,
    pub stopping: bool,
}

impl Agent {
    pub fn new(epoll: Epoll, template: Template, dialer: Dialer) -> Agent {
        Agent {
            epoll,
            template,
            timers: Timers::default(),
            dialer,
            connections: HashMap::new(),
            processes: HashMap::new(),
            ids: HashMap::new(),
            pids: HashMap::new(),
            finished: VecDeque::new(),
            last_key: 0,
            touched: Vec::new(),
            scratch: vec![0; frame::CHUNK],
            sweep_set: false,
            stopping: false,
        }
    }

    pub fn new_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Makes sure that what the connection has to send is looked at before the next sleep.
    pub fn touch(&mut self, connection: Option<u64>) {
        if let Some(key) = connection {
            if !self.touched.contains(&key) {
                self.touched.push(key);
            }
        }
    }

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
                Role::Closing => {}
            }
        }
    }

    /// Answers ERROR and closes the connection.
    pub fn refuse(&mut self, key: u64, kind: &str, message: &str) {
        let role = match self.connections.get_mut(&key) {
            Some(connection) => {
                frame::error(&mut connection.out, kind, message);
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
    fn serve(&mut self, key: u64) {
        self.sweep_later();
        while let Some(connection) = self.connections.get_mut(&key) {
            if connection.role == Role::Closing {
                return;
            }
            match connection.decoder.next() {
                Ok(Some(frame)) => self.on_frame(key, frame),
                Ok(None) => return,
                Err(error) => return self.refuse(key, "invalid", &error.to_string()),
            }
        }
    }

    pub fn on_process(&mut self, key: u64, channel: Channel, events: u32) {
        let Agent {
            processes,
            epoll,
            scratch,
            ..
        } = self;
        let process = match processes.get_mut(&key) {
            Some(process) => process,
            None => return,
        };
        let connection = process.connection;
        match channel {
            Channel::Report => return self.on_report(key),
            Channel::Stdin if events & sys::WRITABLE != 0 => process.stdin.drain(epoll),
            Channel::Stdin => process.stdin.reader_gone(epoll),
            Channel::Stdout | Channel::Stderr => {
                let stream = if channel == Channel::Stdout {
                    &mut process.stdout
                } else {
                    &mut process.stderr
                };
                // Failing to register means no memory for it; the next ACK tries again.
                let _ = stream.fill(epoll, scratch);
                self.sweep_later();
                self.settle(key);
            }
        }
        self.touch(connection);
    }

    /// Something came through the report pipe: its end means that the program runs.
    fn on_report(&mut self, key: u64) {
        let Agent {
            processes,
            epoll,
            scratch,
            connections,
            ..
        } = self;
        let process = match processes.get_mut(&key) {
            Some(process) => process,
            None => return,
        };
        if let Phase::Starting { report, text } = &mut process.phase {
            match sys::read(report.as_raw_fd(), scratch) {
                Ok(0) => {}
                Ok(count) => return text.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
            epoll.remove(report.as_raw_fd());
            if !text.is_empty() {
                let text = String::from_utf8_lossy(text).into_owned();
                return self.start_failed(key, &text);
            }
        }
        process.phase = Phase::Running;
        let connection = process.connection;
        if let Some(connection) = connection.and_then(|connection| connections.get_mut(&connection)) {
            let (accepted, closed) = process.stdin.tell();
            frame::started(&mut connection.out, process.pid, accepted, closed);
        }
        self.touch(connection);
        self.settle(key);
    }

    fn start_failed(&mut self, key: u64, report: &str) {
        let (kind, message) = report.split_once('\0').unwrap_or(("internal", report));
        let connection = self.processes.get(&key).and_then(|process| process.connection);
        self.forget(key);
        if let Some(connection) = connection {
            self.refuse(connection, kind, message);
        }
    }

    /// Reaps everything that ended. Returns false when there are no children left.
    pub fn reap(&mut self) -> bool {
        loop {
            match sys::reap() {
                Ok(Some((pid, ending))) => self.on_exit(pid, ending),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn on_exit(&mut self, pid: pid_t, ending: Ending) {
        let key = match self.pids.remove(&pid) {
            Some(key) => key,
            // An orphan that became ours.
            None => return,
        };
        let Agent {
            processes,
            epoll,
            timers,
            ..
        } = self;
        if let Some(process) = processes.get_mut(&key) {
            if let Some(at) = process.deadline.take() {
                timers.cancel(at, Timer::Deadline(key));
            }
            process.exit = Some(Exit {
                ending,
                timed_out: process.timed_out,
            });
            process.stdin.close(epoll);
            if process.terminal && !process.stdout.at_eof() {
                timers.after(DRAIN_DELAY, Timer::Drain(key));
            }
            let connection = process.connection;
            self.touch(connection);
            self.settle(key);
        }
    }

    /// Counts a process that has just finished, and forgets the oldest beyond the bound.
    fn settle(&mut self, key: u64) {
        match self.processes.get_mut(&key) {
            Some(process) if process.is_finished() && !process.settled => process.settled = true,
            _ => return,
        }
        self.finished.push_back(key);
        if self.finished.len() > FINISHED_KEPT {
            let oldest = self.finished[0];
            let connection = self.processes.get(&oldest).and_then(|process| process.connection);
            self.forget(oldest);
            if let Some(connection) = connection {
                self.drop_connection(connection);
            }
        }
    }

    /// Drops everything known of a process. Should it still run, nobody will be told how it ends.
    pub fn forget(&mut self, key: u64) {
        if let Some(mut process) = self.processes.remove(&key) {
            process.close(&self.epoll);
            if let Some(at) = process.deadline {
                self.timers.cancel(at, Timer::Deadline(key));
            }
            self.ids.remove(&process.id);
            if self.pids.get(&process.pid) == Some(&key) {
                self.pids.remove(&process.pid);
            }
            if process.settled {
                self.finished.retain(|finished| *finished != key);
            }
        }
    }

    /// Runs what is due. Returns false when the agent is to exit.
    pub fn on_timers(&mut self) -> bool {
        let now = Instant::now();
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Deadline(key) => self.on_deadline(key),
                Timer::Drain(key) => self.on_drain(key),
                Timer::Dial => {
                    self.dialer.waiting = false;
                    self.dial();
                }
                Timer::Sweep => self.sweep(),
                Timer::Stop => {
                    tree::signal_all(libc::SIGKILL);
                    return false;
                }
            }
        }
        true
    }

    fn on_deadline(&mut self, key: u64) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.deadline = None;
            if process.exit.is_none() {
                process.timed_out = true;
                tree::signal_family(process.pid, true, libc::SIGKILL);
            }
        }
    }

    /// The terminal's session leader is gone: what can be read now is all there is, except when the window is full.
    fn on_drain(&mut self, key: u64) {
        let Agent {
            processes,
            epoll,
            scratch,
            timers,
            ..
        } = self;
        if let Some(process) = processes.get_mut(&key) {
            if process.stdout.is_full() || matches!(process.stdout.fill(epoll, scratch), Ok(true)) {
                timers.after(DRAIN_DELAY, Timer::Drain(key));
            } else {
                process.stdout.close(epoll);
            }
            let connection = process.connection;
            self.touch(connection);
            self.settle(key);
        }
    }

    fn sweep_later(&mut self) {
        if !self.sweep_set {
            self.sweep_set = true;
            self.timers.after(SWEEP_DELAY, Timer::Sweep);
        }
    }

    fn sweep(&mut self) {
        self.sweep_set = false;
        for process in self.processes.values_mut() {
            process.stdout.free_spare_memory();
            process.stderr.free_spare_memory();
        }
        for connection in self.connections.values_mut() {
            connection.free_spare_memory();
        }
        self.touched.shrink_to(16);
        sys::trim_heap();
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
                return Ok(());
            }
        }
        if connection.role == Role::Closing {
            self.drop_connection(key);
        }
        Ok(())
    }

    /// SIGTERM from the engine: everybody gets the chance to end well. Returns false when the agent is to exit at once.
    pub fn stop(&mut self) -> bool {
        if !self.stopping {
            self.stopping = true;
            tree::signal_all(libc::SIGTERM);
            self.timers.after(STOP_DELAY, Timer::Stop);
        }
        self.reap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        let channels = [Channel::Report, Channel::Stdin, Channel::Stdout, Channel::Stderr];
        let processes = channels.iter().map(|channel| Token::Process(77, *channel));
        for token in processes.chain([Token::Signals, Token::Connection(5)]) {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
