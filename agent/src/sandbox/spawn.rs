//! Starts a process: pipes or a terminal, then fork. What the child does with them is in `child`.

use super::child::{self, Inheritance};
use super::pty;
use crate::failure::{ErrorKind, Failure};
use crate::server::request::{Start, Stdio};
use crate::sys;
use libc::pid_t;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// What every new process inherits from the agent's own start.
pub struct Template {
    pub dev_null: OwnedFd,
    pub open_files: libc::rlimit,
    pub reset_oom_score: bool,
}

/// The agent's ends; all non-blocking.
pub struct Spawned {
    pub pid: pid_t,
    /// Reaches its end when the program runs; else carries the failure.
    pub report: OwnedFd,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    child: [OwnedFd; 3],
}

pub fn spawn(start: &Start, template: &Template) -> Result<Spawned, Failure> {
    spawn_or_error(start, template).map_err(|error| {
        let kind = match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::EIO) => ErrorKind::Internal,
            _ => ErrorKind::Resources,
        };
        let what = if start.pty.is_some() {
            "a process with a terminal"
        } else {
            "a process"
        };
        Failure::new(kind, format!("the sandbox could not start {}: {}", what, error))
    })
}

fn spawn_or_error(start: &Start, template: &Template) -> io::Result<Spawned> {
    let ends = match start.pty {
        Some((rows, cols)) => terminal_ends(rows, cols)?,
        None => pipe_ends(start, template)?,
    };
    let (report, report_to) = sys::pipe()?;
    sys::set_nonblocking(&report)?;
    let inheritance = Inheritance {
        stdio: [
            ends.child[0].as_raw_fd(),
            ends.child[1].as_raw_fd(),
            ends.child[2].as_raw_fd(),
        ],
        terminal: start.pty.map(|_| ends.child[0].as_raw_fd()),
        report: report_to.as_raw_fd(),
        open_files: template.open_files,
        reset_oom_score: template.reset_oom_score,
    };
    // SAFETY: the agent has one thread, so the child may go on with ordinary code.
    match sys::check(unsafe { libc::fork() })? {
        0 => child::run(start, &inheritance),
        pid => Ok(Spawned {
            pid,
            report,
            stdin: ends.stdin,
            stdout: ends.stdout,
            stderr: ends.stderr,
        }),
    }
}

fn terminal_ends(rows: u16, cols: u16) -> io::Result<Ends> {
    let (master, slave) = pty::open(rows, cols)?;
    let child = [sys::duplicate(&slave)?, sys::duplicate(&slave)?, slave];
    Ok(Ends {
        stdin: Some(sys::duplicate(&master)?),
        stdout: Some(master),
        stderr: None,
        child,
    })
}

fn pipe_ends(start: &Start, template: &Template) -> io::Result<Ends> {
    let (stdin_child, stdin) = match start.stdin {
        Stdio::Pipe => {
            let (reader, writer) = sys::pipe()?;
            sys::set_nonblocking(&writer)?;
            (reader, Some(writer))
        }
        _ => (sys::duplicate(&template.dev_null)?, None),
    };
    let output = |stdio: Stdio| -> io::Result<(OwnedFd, Option<OwnedFd>)> {
        if stdio != Stdio::Pipe {
            return Ok((sys::duplicate(&template.dev_null)?, None));
        }
        let (reader, writer) = sys::pipe()?;
        sys::set_nonblocking(&reader)?;
        Ok((writer, Some(reader)))
    };
    let (stdout_child, stdout) = output(start.stdout)?;
    let (stderr_child, stderr) = match start.stderr {
        Stdio::Stdout => (sys::duplicate(&stdout_child)?, None),
        stdio => output(stdio)?,
    };
    Ok(Ends {
        stdin,
        stdout,
        stderr,
        child: [stdin_child, stdout_child, stderr_child],
    })
}
