//! A command that runs.

use crate::frames::{Start, Stream};
use crate::input::Input;
use crate::{program, sys};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};

/// A command from its start until its status is taken. Until then its process id is its own, also when it has ended: so it is waited for last.
pub struct Command {
    pid: libc::pid_t,
    /// Readable when its process has ended; `None` once that was seen.
    pub alive: Option<OwnedFd>,
    pub input: Option<Input>,
    /// What it writes, as long as somebody may.
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Command {
    /// Starts it at the head of a process group of its own, with the signals and the descriptors of a new program.
    pub fn start(start: &Start) -> io::Result<Command> {
        let name = start.arguments.first().ok_or_else(invalid)?;
        let program = program::find(name, &start.variables)?;
        match Command::spawn(start, process::Command::new(&program).arg0(name)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => Command::spawn(start, &mut by_shell(&program)),
            other => other,
        }
    }

    fn spawn(start: &Start, command: &mut process::Command) -> io::Result<Command> {
        command.args(&start.arguments[1..]).env_clear().process_group(0);
        for variable in &start.variables {
            let equals = variable.iter().position(|byte| *byte == b'=').ok_or_else(invalid)?;
            let (name, value) = (&variable[..equals], &variable[equals + 1..]);
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
        if let Some(cwd) = &start.cwd {
            command.current_dir(cwd);
        }
        let mut input = None;
        command.stdin(Stdio::null());
        if start.has_input {
            let (reader, writer) = sys::pipe()?;
            command.stdin(reader);
            input = Some(Input::new(writer)?);
        }
        let (stdout, for_stdout) = output(start.discards_output)?;
        let (stderr, for_stderr) = output(start.discards_output)?;
        let child = command.stdout(for_stdout).stderr(for_stderr).spawn()?;
        let pid = child.id() as libc::pid_t;
        let alive = sys::pidfd(pid).map_err(|error| {
            sys::kill_group(pid);
            let _ = sys::wait(pid);
            error
        })?;
        Ok(Command {
            pid,
            alive: Some(alive),
            input,
            stdout,
            stderr,
        })
    }

    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Kills it and what it started in its process group.
    pub fn kill(&self) {
        sys::kill_group(self.pid);
    }

    pub fn output(&self, stream: Stream) -> Option<&File> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    /// Reads what it wrote, once `poll` says that there is something. Nothing is the end of that stream.
    pub fn read<'a>(&mut self, stream: Stream, buffer: &'a mut [u8]) -> &'a [u8] {
        let output = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let length = output.as_mut().map_or(0, |pipe| pipe.read(buffer).unwrap_or(0));
        if length == 0 {
            *output = None;
        }
        &buffer[..length]
    }

    /// Whether nothing more comes of it: its process has ended, and nobody can write to its output.
    pub fn is_over(&self) -> bool {
        self.alive.is_none() && self.stdout.is_none() && self.stderr.is_none()
    }

    /// Its exit code, or less than 0 the signal that ended it. Waits for its end.
    pub fn status(self) -> io::Result<i32> {
        let status = ExitStatus::from_raw(sys::wait(self.pid)?);
        Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)))
    }
}

/// A script that names no interpreter is the shell's, as for execvp(3).
fn by_shell(program: &Path) -> process::Command {
    let mut shell = process::Command::new("/bin/sh");
    shell.arg(program);
    shell
}

/// Where a stream is read, and what the command writes it to.
fn output(discarded: bool) -> io::Result<(Option<File>, Stdio)> {
    if discarded {
        return Ok((None, Stdio::null()));
    }
    let (reader, writer) = sys::pipe()?;
    Ok((Some(reader.into()), writer.into()))
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}
