//! What happens to processes: they start, write, read, run out of time, end, and are forgotten.

use super::agent::{Agent, Token};
use super::process::{Channel, Exit, Phase};
use super::timers::Timer;
use super::tree;
use crate::failure::Failure;
use crate::frame;
use crate::sys::{self, Ending};
use libc::pid_t;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Finished processes kept for a server that has not released them.
const FINISHED_KEPT: usize = 4096;
/// How long after a process's end others may still write to its streams: a terminal hands its last output over, and a child that
/// carries the process's own output (`exec > >(tee log)`) gets it through.
const DRAIN_DELAY: Duration = Duration::from_millis(100);

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
                self.keep_leftovers(key);
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
                let failure = Failure::from_report(text);
                return self.start_failed(key, &failure);
            }
        }
        process.phase = Phase::Running;
        let connection = process.connection;
        if let Some(connection) = connection.and_then(|connection| connections.get_mut(&connection)) {
            let (accepted, closed) = process.stdin.tell();
            frame::started(&mut connection.out, process.pid, accepted, closed, process.signals);
        }
        self.touch(connection);
        self.settle(key);
    }

    fn start_failed(&mut self, key: u64, failure: &Failure) {
        let connection = self.processes.get(&key).and_then(|process| process.connection);
        self.forget(key);
        if let Some(connection) = connection {
            self.refuse(connection, failure);
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
            if !process.stdout.at_eof() || !process.stderr.at_eof() {
                // Nobody of its family is left to say anything after a timeout.
                let delay = if process.timed_out { Duration::ZERO } else { DRAIN_DELAY };
                timers.after(delay, Timer::Drain(key));
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

    /// The sandbox is a copy of one, which has a server of its own: that goes on with one process, counted anew. The others go on by themselves, and what they
    /// write is dropped.
    pub fn renew(&mut self, kept: &str) {
        let strangers = self.processes.iter().filter(|(_, process)| process.id != kept);
        for key in strangers.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.disown(key);
        }
        let Agent {
            processes, epoll, ids, ..
        } = self;
        let connection = ids
            .get(kept)
            .and_then(|key| processes.get_mut(key))
            .and_then(|process| {
                process.begin_anew(epoll);
                process.connection.take()
            });
        if let Some(connection) = connection {
            self.drop_connection(connection);
        }
    }

    fn disown(&mut self, key: u64) {
        let process = match self.processes.get_mut(&key) {
            Some(process) => process,
            None => return,
        };
        let streams = [&mut process.stdout, &mut process.stderr];
        let left: Vec<_> = streams.into_iter().filter_map(|it| it.give_up(&self.epoll)).collect();
        let connection = process.connection;
        self.drop_output_of(left);
        self.forget(key);
        if let Some(connection) = connection {
            self.drop_connection(connection);
        }
    }

    /// Drops everything known of a process. Should it still run, nobody will be told how it ends.
    pub fn forget(&mut self, key: u64) {
        if let Some(mut process) = self.processes.remove(&key) {
            if process.exit.is_some() {
                let streams = [&mut process.stdout, &mut process.stderr];
                let left: Vec<_> = streams.into_iter().filter_map(|it| it.give_up(&self.epoll)).collect();
                self.drop_output_of(left);
            }
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

    /// The process is gone and had its delay: what can be read now is all there is of it.
    pub(super) fn on_drain(&mut self, key: u64) {
        let Agent {
            processes,
            epoll,
            scratch,
            ..
        } = self;
        if let Some(process) = processes.get_mut(&key) {
            process.cut_output(epoll);
            for stream in [&mut process.stdout, &mut process.stderr] {
                // What does not fit into the window comes with the next ACK, like any output.
                let _ = stream.fill(epoll, scratch);
            }
            let connection = process.connection;
            self.touch(connection);
            self.keep_leftovers(key);
            self.settle(key);
        }
    }

    fn keep_leftovers(&mut self, key: u64) {
        if let Some(process) = self.processes.get_mut(&key) {
            let left: Vec<_> = process.take_leftovers().collect();
            self.drop_output_of(left);
        }
    }

    /// From now on reads these and drops what comes.
    fn drop_output_of(&mut self, streams: Vec<OwnedFd>) {
        for fd in streams {
            let key = self.new_key();
            // Without memory for it the writers get SIGPIPE.
            if self
                .epoll
                .add(fd.as_raw_fd(), sys::READABLE, Token::Leftover(key).pack())
                .is_ok()
            {
                self.leftovers.insert(key, fd);
            }
        }
    }

    pub fn on_leftover(&mut self, key: u64) {
        let Agent {
            leftovers,
            epoll,
            scratch,
            ..
        } = self;
        if let Some(fd) = leftovers.get(&key).map(AsRawFd::as_raw_fd) {
            match sys::read(fd, scratch) {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    epoll.remove(fd);
                    leftovers.remove(&key);
                }
            }
        }
    }
}
