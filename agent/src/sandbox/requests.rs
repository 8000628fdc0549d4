//! What each frame from the server does.

use super::agent::{Agent, Token};
use super::process::{Channel, Phase, Process};
use super::pty;
use super::spawn;
use super::timers::Timer;
use super::tree;
use super::usage::usage;
use crate::failure::{ErrorKind, Failure};
use crate::frame::{self, Frame, Kind};
use crate::server::connection::Role;
use crate::server::request;
use crate::sys;
use serde_json::{json, Map, Value};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::io::AsRawFd;

const RESULT_BOUND: usize = 4 << 20;
/// A START bigger than this leaves enough garbage to be worth handing back at once.
const BIG_REQUEST: usize = 256 << 10;

impl Agent {
    pub fn on_frame(&mut self, key: u64, frame: Frame) {
        match self.connections.get(&key).map(|connection| connection.role) {
            Some(Role::Spare) => self.on_request(key, frame),
            Some(Role::Process(process)) => self.on_process_frame(key, process, frame),
            Some(Role::Port(port)) => self.on_port_frame(key, port, frame),
            Some(Role::Closing) | None => {}
        }
    }

    fn on_request(&mut self, key: u64, frame: Frame) {
        let payload = frame.payload.as_slice();
        let answer = match frame.kind {
            Kind::Start => self.start(key, payload),
            Kind::Attach => request::parse_attach(payload)
                .map_err(Failure::invalid)
                .and_then(|attach| match self.ids.get(&attach.id) {
                    Some(&process) => self.attach(key, process, attach.stdout_offset, attach.stderr_offset),
                    None => Err(Failure::new(
                        ErrorKind::UnknownProcess,
                        format!("there is no process '{}'", attach.id),
                    )),
                }),
            Kind::List => request::check_object(payload)
                .map_err(Failure::invalid)
                .and_then(|()| self.list(key)),
            Kind::Stats => request::check_object(payload)
                .map_err(Failure::invalid)
                .and_then(|()| self.stats(key)),
            Kind::KillAll => request::parse_kill_all(payload)
                .map_err(Failure::invalid)
                .map(|signal| {
                    tree::signal_all(signal);
                    self.answer(key, "{}");
                }),
            Kind::Dial => request::parse_dial(payload)
                .map_err(Failure::invalid)
                .and_then(|number| self.dial_port(key, number)),
            Kind::Renew => request::parse_renew(payload).map_err(Failure::invalid).map(|kept| {
                self.renew(&kept);
                self.answer(key, "{}");
            }),
            Kind::Environment => request::check_object(payload)
                .map_err(Failure::invalid)
                .and_then(|()| self.environment(key)),
            other => Err(Failure::invalid(format!("{:?} cannot be the first frame", other))),
        };
        if let Err(failure) = answer {
            self.refuse(key, &failure);
        } else {
            self.spare_used();
        }
        if frame.payload.len() > BIG_REQUEST {
            drop(frame);
            sys::trim_heap();
        }
    }

    fn start(&mut self, key: u64, payload: &[u8]) -> Result<(), Failure> {
        let start = request::parse_start(payload).map_err(Failure::invalid)?;
        if let Some(&process) = self.ids.get(&start.id) {
            return self.attach(key, process, 0, 0);
        }
        if self.stopping {
            return Err(Failure::new(ErrorKind::Resources, "the sandbox is stopping"));
        }
        let spawned = spawn::spawn(&start, &self.template)?;
        let (pid, report) = (spawned.pid, spawned.report.as_raw_fd());
        let process_key = self.new_key();
        let token = |channel| Token::Process(process_key, channel).pack();
        let mut process = Process::new(start.id.clone(), start.pty.is_some(), spawned, token);
        process.connection = Some(key);
        if let Some(timeout) = start.timeout {
            process.deadline = self.timers.after(timeout, Timer::Deadline(process_key));
        }
        let watched = self
            .epoll
            .add(report, sys::READABLE, token(Channel::Report))
            .and_then(|()| process.stdout.watch(&self.epoll))
            .and_then(|()| process.stderr.watch(&self.epoll));
        process.stdin.watch(&self.epoll);
        self.ids.insert(start.id, process_key);
        self.pids.insert(pid, process_key);
        self.processes.insert(process_key, process);
        if let Err(error) = watched {
            sys::kill(pid, libc::SIGKILL);
            self.forget(process_key);
            return Err(Failure::new(
                ErrorKind::Resources,
                format!("the process cannot be watched: {}", error),
            ));
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.role = Role::Process(process_key);
        }
        Ok(())
    }

    fn attach(&mut self, key: u64, process_key: u64, stdout: u64, stderr: u64) -> Result<(), Failure> {
        let process = match self.processes.get_mut(&process_key) {
            Some(process) => process,
            None => return Err(Failure::new(ErrorKind::Internal, "the process is gone")),
        };
        if !process.rewind(&self.epoll, stdout, stderr) {
            return Err(Failure::invalid("output from these offsets is not kept"));
        }
        if let Some(older) = process.connection.take() {
            self.drop_connection(older);
        }
        if let (Some(process), Some(connection)) =
            (self.processes.get_mut(&process_key), self.connections.get_mut(&key))
        {
            process.connection = Some(key);
            connection.role = Role::Process(process_key);
            if let Phase::Running = process.phase {
                let (accepted, closed) = process.stdin.tell();
                frame::started(&mut connection.out, process.pid, accepted, closed, process.signals);
            }
        }
        self.touch(Some(key));
        Ok(())
    }

    fn answer(&mut self, key: u64, json: &str) {
        if let Some(connection) = self.connections.get_mut(&key) {
            frame::result(&mut connection.out, json);
            connection.role = Role::Closing;
        }
        self.touch(Some(key));
    }

    fn list(&mut self, key: u64) -> Result<(), Failure> {
        let running = self
            .processes
            .values()
            .filter(|process| matches!(process.phase, Phase::Running));
        let processes: Vec<Value> = running.map(Process::describe).collect();
        let json = json!({ "processes": processes }).to_string();
        if json.len() > RESULT_BOUND {
            return Err(Failure::new(
                ErrorKind::Resources,
                "there are too many processes to list",
            ));
        }
        self.answer(key, &json);
        Ok(())
    }

    fn stats(&mut self, key: u64) -> Result<(), Failure> {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        // SAFETY: cannot fail for this name.
        let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1));
        let mut json = json!({
            "rssKiB": pages * page_size / 1024,
            "processes": self.processes.len(),
            "openFiles": open_files,
            "begun": self.clock.begun(),
        });
        if let Some(usage) = usage() {
            json["usage"] = usage;
        }
        self.answer(key, &json.to_string());
        Ok(())
    }

    /// What the runtime started the agent with, as far as it is text.
    fn environment(&mut self, key: u64) -> Result<(), Failure> {
        let text = |text: OsString| text.into_string().ok();
        let variables: Map<String, Value> = env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, Value::from(text(value)?))))
            .collect();
        let json = json!({ "variables": variables }).to_string();
        if json.len() > RESULT_BOUND {
            return Err(Failure::new(
                ErrorKind::Resources,
                "the environment is too long to be told",
            ));
        }
        self.answer(key, &json);
        Ok(())
    }

    fn on_process_frame(&mut self, key: u64, process_key: u64, frame: Frame) {
        let Agent { processes, epoll, .. } = self;
        let process = match processes.get_mut(&process_key) {
            Some(process) => process,
            None => return self.drop_connection(key),
        };
        let payload = frame.payload.as_slice();
        let outcome = match frame.kind {
            Kind::Stdin => process
                .stdin
                .push(epoll, frame::leading_u64(payload), &payload[8..])
                .map_err(|error| error.to_string()),
            Kind::StdinEof => {
                process.stdin.finish(epoll);
                Ok(())
            }
            Kind::Ack => acknowledge(process, epoll, payload[0], frame::leading_u64(&payload[1..])),
            Kind::Resize => resize(process, payload),
            Kind::Signal => signal(process, payload[0], payload[1]),
            Kind::Release if process.exit.is_some() => {
                self.forget(process_key);
                return self.drop_connection(key);
            }
            Kind::Release => Err("a running process cannot be released".to_string()),
            other => Err(format!("{:?} must be the first frame of a connection", other)),
        };
        match outcome {
            Ok(()) => self.touch(Some(key)),
            Err(message) => self.refuse(key, &Failure::invalid(message)),
        }
    }
}

fn acknowledge(process: &mut Process, epoll: &sys::Epoll, stream: u8, offset: u64) -> Result<(), String> {
    let output = match stream {
        frame::STDOUT => &mut process.stdout,
        frame::STDERR => &mut process.stderr,
        _ => return Err(format!("there is no stream {}", stream)),
    };
    if !output.acknowledge(offset) {
        return Err(format!("{} was acknowledged but never sent", offset));
    }
    output.watch(epoll).map_err(|error| error.to_string())
}

fn resize(process: &mut Process, payload: &[u8]) -> Result<(), String> {
    let rows = u16::from_le_bytes([payload[0], payload[1]]);
    let cols = u16::from_le_bytes([payload[2], payload[3]]);
    match (process.terminal, process.stdout.fd()) {
        (true, Some(terminal)) => {
            let told = pty::resize(terminal, rows, cols).map_err(|error| error.to_string())?;
            if !told {
                // By default the signal is ignored, so those in the background do not mind.
                tree::signal_family(process.pid, process.exit.is_none(), libc::SIGWINCH);
            }
            Ok(())
        }
        // The terminal is already gone, and so is everybody who could care.
        (true, None) => Ok(()),
        (false, _) => Err("the process has no terminal".to_string()),
    }
}

fn signal(process: &mut Process, signal: u8, scope: u8) -> Result<(), String> {
    if !(1..=64).contains(&signal) {
        return Err(format!("there is no signal {}", signal));
    }
    match scope {
        0 if process.exit.is_none() => sys::kill(process.pid, signal.into()),
        0 => {}
        1 => tree::signal_family(process.pid, process.exit.is_none(), signal.into()),
        _ => return Err(format!("there is no scope {}", scope)),
    }
    process.signals += 1;
    Ok(())
}
