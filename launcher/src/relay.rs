//! Passes between the server and the commands: one thread, which waits for whatever can go on.
//!
//! What the server says is always read, so a command can be killed whatever the others do. Output is read only while little waits for the server: then
//! commands that write much stand still at their pipes, in turns, and the memory of this process does not grow.

use crate::command::Command;
use crate::frames::{self, Answer, Request, Stream};
use crate::input::Fed;
use crate::sys;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::io::{AsFd, AsRawFd};

/// Bytes read at once, the room that the kernel has in a pipe.
const PIECE: usize = 64 << 10;
/// Bytes that wait for the server before no more output is read.
const MAX_WAITING: usize = 4 * PIECE;

struct Relay {
    from_server: File,
    to_server: File,
    /// False once the server has ended: nobody hears anything from then on.
    is_heard: bool,
    received: Vec<u8>,
    sending: VecDeque<u8>,
    commands: BTreeMap<u32, Command>,
    /// Who of those that are ready comes first this time.
    turn: usize,
}

/// What is waited for.
enum Source {
    FromServer,
    ToServer,
    End(u32),
    Output(u32, Stream),
    Input(u32),
}

/// Serves until the server and the last command have ended.
pub fn serve() -> io::Result<()> {
    sys::outlive_signals()?;
    let mut relay = Relay {
        from_server: io::stdin().as_fd().try_clone_to_owned()?.into(),
        to_server: io::stdout().as_fd().try_clone_to_owned()?.into(),
        is_heard: true,
        received: Vec::new(),
        sending: VecDeque::new(),
        commands: BTreeMap::new(),
        turn: 0,
    };
    sys::set_nonblocking(relay.to_server.as_raw_fd())?;
    relay.say(0, Answer::Ready);
    while relay.is_heard || !relay.commands.is_empty() {
        relay.go_on()?;
    }
    Ok(())
}

impl Relay {
    /// Waits until something can go on, and does all that can.
    fn go_on(&mut self) -> io::Result<()> {
        let (sources, mut polled): (Vec<Source>, Vec<libc::pollfd>) = self.sources().into_iter().unzip();
        sys::poll(&mut polled)?;
        let is_ready = |(source, polled): (Source, libc::pollfd)| (polled.revents != 0).then_some(source);
        let mut ready: Vec<Source> = sources.into_iter().zip(polled).filter_map(is_ready).collect();
        if !ready.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let first = self.turn % ready.len();
            ready.rotate_left(first);
        }
        for source in ready {
            match source {
                Source::FromServer => self.hear()?,
                Source::ToServer => self.send(),
                Source::End(id) => self.note_end(id),
                Source::Output(id, stream) => self.pass_output(id, stream),
                Source::Input(id) => self.feed(id),
            }
        }
        self.send();
        self.take_ended()
    }

    fn sources(&self) -> Vec<(Source, libc::pollfd)> {
        let mut sources = Vec::with_capacity(2 + 4 * self.commands.len());
        if self.is_heard {
            sources.push((Source::FromServer, sys::watch(&self.from_server, libc::POLLIN)));
        }
        if !self.sending.is_empty() {
            sources.push((Source::ToServer, sys::watch(&self.to_server, libc::POLLOUT)));
        }
        for (&id, command) in &self.commands {
            if let Some(process) = &command.alive {
                sources.push((Source::End(id), sys::watch(process, libc::POLLIN)));
            }
            if let Some(pipe) = command.input.as_ref().and_then(|input| input.waits_for()) {
                sources.push((Source::Input(id), sys::watch(pipe, libc::POLLOUT)));
            }
            for stream in [Stream::Stdout, Stream::Stderr] {
                match command.output(stream) {
                    Some(pipe) if self.has_room() => {
                        sources.push((Source::Output(id, stream), sys::watch(pipe, libc::POLLIN)));
                    }
                    _ => {}
                }
            }
        }
        sources
    }

    fn has_room(&self) -> bool {
        self.sending.len() < MAX_WAITING
    }

    fn say(&mut self, id: u32, answer: Answer) {
        if self.is_heard {
            frames::put(answer, id, &mut self.sending);
        }
    }

    fn send(&mut self) {
        while !self.sending.is_empty() {
            match self.to_server.write(self.sending.as_slices().0) {
                Ok(length) => drop(self.sending.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.lose_server(),
            }
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let length = self.from_server.read(&mut piece).unwrap_or(0);
        if length == 0 {
            self.lose_server();
            return Ok(());
        }
        self.received.extend_from_slice(&piece[..length]);
        let mut taken = 0;
        while let Some((length, id, request)) = frames::first(&self.received[taken..])? {
            taken += length;
            self.answer(id, request);
        }
        self.received.drain(..taken);
        Ok(())
    }

    fn answer(&mut self, id: u32, request: Request) {
        match request {
            Request::Start(start) => match Command::start(&start) {
                Ok(command) => {
                    self.say(id, Answer::Started(command.pid()));
                    self.commands.insert(id, command);
                }
                Err(error) => self.say(id, Answer::Failed(error.raw_os_error().unwrap_or(libc::EINVAL))),
            },
            Request::Input { bytes, last } => {
                if let Some(input) = self.commands.get_mut(&id).and_then(|command| command.input.as_mut()) {
                    input.give(bytes, last);
                    self.feed(id);
                }
            }
            Request::Kill => {
                if let Some(command) = self.commands.get(&id) {
                    command.kill();
                }
            }
        }
    }

    fn feed(&mut self, id: u32) {
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        match command.input.as_mut().map(|input| input.feed()) {
            Some(Fed::Wants) => self.say(id, Answer::Want),
            Some(Fed::Closed) => command.input = None,
            Some(Fed::Waits) | None => {}
        }
    }

    fn pass_output(&mut self, id: u32, stream: Stream) {
        if !self.has_room() {
            return;
        }
        let Some(command) = self.commands.get_mut(&id) else {
            return;
        };
        let mut piece = [0; PIECE];
        let bytes = command.read(stream, &mut piece);
        if !bytes.is_empty() {
            self.say(id, Answer::Output(stream, bytes));
        }
    }

    fn note_end(&mut self, id: u32) {
        if let Some(command) = self.commands.get_mut(&id) {
            command.alive = None;
        }
    }

    /// Takes the status of commands of which nothing more comes, or nothing that anybody would hear.
    fn take_ended(&mut self) -> io::Result<()> {
        let is_over = |command: &Command| command.is_over() || (!self.is_heard && command.alive.is_none());
        let ended: Vec<u32> = self
            .commands
            .iter()
            .filter(|(_, command)| is_over(command))
            .map(|(&id, _)| id)
            .collect();
        for id in ended {
            if let Some(command) = self.commands.remove(&id) {
                let status = command.status()?;
                self.say(id, Answer::Exit(status));
            }
        }
        Ok(())
    }

    /// What runs goes on, but not with the half of its input: what that would do nobody has thought of.
    fn lose_server(&mut self) {
        self.is_heard = false;
        self.sending.clear();
        for command in self.commands.values() {
            if command.input.as_ref().is_some_and(|input| input.is_partial()) {
                command.kill();
            }
        }
    }
}
