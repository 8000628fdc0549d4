//! What happens to processes: they start, write, read, run out of time, end, and are forgotten.

use super::agent::Agent;
use super::process::{Channel, Exit, Phase};
use super::timers::Timer;
use super::tree;
use crate::frame;
use crate::sys::{self, Ending};
use libc::pid_t;
use std::io;
use std::os::unix::io::AsRawFd;
use std::time::Duration;

/// Finished processes kept for a server that has not released them.
const FINISHED_KEPT: usize = 4096;
/// How long a terminal may take to hand over its last output after its session leader died.
const DRAIN_DELAY: Duration = Duration::from_millis(200);

impl Agent {
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
    pub(super) fn settle(&mut self, key: u64) {
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

    pub(super) fn on_deadline(&mut self, key: u64) {
        if let Some(process) = self.processes.get_mut(&key) {
            process.deadline = None;
            if process.exit.is_none() {
                process.timed_out = true;
                tree::signal_family(process.pid, true, libc::SIGKILL);
            }
        }
    }

    /// The terminal's session leader is gone: what can be read now is all there is, except when the window is full.
    pub(super) fn on_drain(&mut self, key: u64) {
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
}
