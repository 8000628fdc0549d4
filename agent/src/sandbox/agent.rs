//! The agent's state. One thread, one epoll: nothing that touches it blocks. What happens to its parts is in `connections`,
//! `events`, `ports` and `requests`.

use super::clock::Clock;
use super::port::PortStream;
use super::process::{Channel, Process};
use super::spawn::Template;
use super::timers::{Timer, Timers};
use super::tree;
use crate::frame;
use crate::server::connection::Connection;
use crate::server::dialer::Dialer;
use crate::sys::{self, Epoll};
use libc::pid_t;
use std::collections::{HashMap, VecDeque};
use std::os::unix::io::OwnedFd;
use std::time::{Duration, Instant};

const SWEEP_DELAY: Duration = Duration::from_secs(1);
const STOP_DELAY: Duration = Duration::from_secs(2);

/// What an epoll token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Signals,
    Connection(u64),
    Process(u64, Channel),
    /// A stream that ended with its process while others can still write to it.
    Leftover(u64),
    /// The socket of a stream to a port.
    Port(u64),
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
            Token::Leftover(key) => key << 3 | 6,
            Token::Port(key) => key << 3 | 7,
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
            5 => Token::Process(key, Channel::Stderr),
            6 => Token::Leftover(key),
            _ => Token::Port(key),
        }
    }
}

pub struct Agent {
    pub(super) clock: Clock,
    pub epoll: Epoll,
    pub template: Template,
    pub timers: Timers,
    pub(super) dialer: Dialer,
    pub connections: HashMap<u64, Connection>,
    pub processes: HashMap<u64, Process>,
    pub(super) ports: HashMap<u64, PortStream>,
    pub ids: HashMap<String, u64>,
    pub pids: HashMap<pid_t, u64>,
    /// Output that nobody wants: read, so that its writers are neither held up nor killed, and dropped.
    pub(super) leftovers: HashMap<u64, OwnedFd>,
    /// Finished processes, oldest first.
    pub(super) finished: VecDeque<u64>,
    /// Keys are never used twice, so that an event of something that is gone finds nothing.
    last_key: u64,
    /// Connections that may have something to send.
    pub(super) touched: Vec<u64>,
    pub(super) scratch: Vec<u8>,
    sweep_set: bool,
    pub stopping: bool,
}

impl Agent {
    pub fn new(epoll: Epoll, template: Template, dialer: Dialer) -> Agent {
        Agent {
            clock: Clock::start(),
            epoll,
            template,
            timers: Timers::default(),
            dialer,
            connections: HashMap::new(),
            processes: HashMap::new(),
            ports: HashMap::new(),
            ids: HashMap::new(),
            pids: HashMap::new(),
            leftovers: HashMap::new(),
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

    /// Runs what is due. Returns false when the agent is to exit.
    pub fn on_timers(&mut self) -> bool {
        let now = Instant::now();
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Deadline(key) => self.on_deadline(key),
                Timer::Drain(key) => self.on_drain(key),
                Timer::Port(key) => self.on_port_timeout(key),
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

    pub(super) fn sweep_later(&mut self) {
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
        let others = [Token::Signals, Token::Connection(5), Token::Leftover(6), Token::Port(7)];
        for token in processes.chain(others) {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
