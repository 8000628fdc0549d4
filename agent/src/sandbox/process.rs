//! One process that the server asked for, from its START until it is forgotten.

use super::output::Output;
use super::spawn::Spawned;
use super::stdin::Stdin;
use crate::frame;
use crate::sys::{Ending, Epoll};
use libc::pid_t;
use serde_json::{json, Value};
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Kinds of descriptors of a process that epoll watches; part of their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Report,
    Stdin,
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub ending: Ending,
    pub timed_out: bool,
}

/// Between fork and exec, or beyond.
pub enum Phase {
    /// The child has not become the program yet; what came through the report pipe so far.
    Starting {
        report: OwnedFd,
        text: Vec<u8>,
    },
    Running,
}

pub struct Process {
    pub id: String,
    pub pid: pid_t,
    pub phase: Phase,
    pub terminal: bool,
    /// Key of the attached connection.
    pub connection: Option<u64>,
    pub stdin: Stdin,
    pub stdout: Output,
    pub stderr: Output,
    /// SIGNAL frames carried out so far.
    pub signals: u64,
    pub exit: Option<Exit>,
    exit_sent: bool,
    pub deadline: Option<Instant>,
    pub timed_out: bool,
    /// Counted among the finished processes.
    pub settled: bool,
}

impl Process {
    /// `token` gives the epoll token of each channel.
    pub fn new(id: String, terminal: bool, spawned: Spawned, token: impl Fn(Channel) -> u64) -> Process {
        Process {
            id,
            pid: spawned.pid,
            phase: Phase::Starting {
                report: spawned.report,
                text: Vec::new(),
            },
            terminal,
            connection: None,
            stdin: Stdin::new(spawned.stdin, token(Channel::Stdin), terminal),
            stdout: Output::new(spawned.stdout, token(Channel::Stdout)),
            stderr: Output::new(spawned.stderr, token(Channel::Stderr)),
            signals: 0,
            exit: None,
            exit_sent: false,
            deadline: None,
            timed_out: false,
            settled: false,
        }
    }

    /// Lets go of every descriptor, registered ones properly: a child that has not reached exec yet may hold a copy, and
    /// closing alone would then leave them in epoll.
    pub fn close(&mut self, epoll: &Epoll) {
        if let Phase::Starting { report, .. } = &self.phase {
            epoll.remove(report.as_raw_fd());
        }
        self.stdin.close(epoll);
        self.stdout.close(epoll);
        self.stderr.close(epoll);
    }

    /// The process is gone: its streams end with what it wrote, whoever else still holds them.
    pub fn cut_output(&mut self, epoll: &Epoll) {
        self.stdout.cut(epoll);
        self.stderr.cut(epoll);
    }

    /// Descriptors of streams that ended before their last writer.
    pub fn take_leftovers(&mut self) -> impl Iterator<Item = OwnedFd> {
        [self.stdout.take_leftover(), self.stderr.take_leftover()]
            .into_iter()
            .flatten()
    }

    pub fn is_finished(&self) -> bool {
        self.exit.is_some() && self.stdout.at_eof() && self.stderr.at_eof()
    }

    /// Prepares for a new connection that wants output from these offsets and so has everything below them. False when they are
    /// not kept.
    pub fn rewind(&mut self, epoll: &Epoll, stdout: u64, stderr: u64) -> bool {
        if !self.stdout.keeps(stdout) || !self.stderr.keeps(stderr) {
            return false;
        }
        self.exit_sent = false;
        for (stream, offset) in [(&mut self.stdout, stdout), (&mut self.stderr, stderr)] {
            stream.rewind(offset);
            // Failing to register means no memory for it; the next ACK tries again.
            let _ = stream.watch(epoll);
        }
        true
    }

    /// Another server than the one before goes on with it: what it wrote, read and was sent so far is nothing to that one.
    pub fn begin_anew(&mut self, epoll: &Epoll) {
        self.stdin.begin_anew(epoll);
        self.stdout.begin_anew(epoll);
        self.stderr.begin_anew(epoll);
        self.signals = 0;
        self.exit_sent = false;
    }

    /// Appends to `out` what is due on the connection, output only until `out` holds `limit` bytes beyond `pending`.
    pub fn pump(&mut self, out: &mut Vec<u8>, mut pending: usize, limit: usize) {
        if let Phase::Starting { .. } = self.phase {
            return;
        }
        if self.stdin.has_news() {
            let (accepted, closed) = self.stdin.tell();
            frame::stdin_ack(out, accepted, closed);
        }
        let mut more = true;
        while more && pending < limit {
            more = false;
            for (number, stream) in [(frame::STDOUT, &mut self.stdout), (frame::STDERR, &mut self.stderr)] {
                if let Some((offset, data)) = stream.take(frame::CHUNK) {
                    let before = out.len();
                    frame::output(out, number, offset, data);
                    pending += out.len() - before;
                    more = true;
                }
            }
        }
        for (number, stream) in [(frame::STDOUT, &mut self.stdout), (frame::STDERR, &mut self.stderr)] {
            if let Some(length) = stream.take_eof() {
                frame::eof(out, number, length);
            }
        }
        if let (Some(exit), false) = (self.exit, self.exit_sent) {
            let (signalled, value) = match exit.ending {
                Ending::Code(code) => (false, code),
                Ending::Signal(signal) => (true, signal),
            };
            frame::exit(out, signalled, value, exit.timed_out);
            self.exit_sent = true;
        }
    }

    /// This process in the answer to LIST.
    pub fn describe(&self) -> Value {
        let exit = self.exit.map(|exit| {
            let (kind, value) = match exit.ending {
                Ending::Code(code) => ("code", code),
                Ending::Signal(signal) => ("signal", signal),
            };
            json!({ "kind": kind, "value": value, "timedOut": exit.timed_out })
        });
        json!({
            "id": self.id,
            "pid": self.pid,
            "stdout": self.stdout.end(),
            "stderr": self.stderr.end(),
            "stdoutEof": self.stdout.at_eof(),
            "stderrEof": self.stderr.at_eof(),
            "stdinAccepted": self.stdin.accepted(),
            "exit": exit,
        })
    }
}
