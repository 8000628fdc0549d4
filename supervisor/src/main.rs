//! Holds the listening socket of the server and keeps the server running.
//!
//! The official clients give up on a refused connection within a second. While this program holds the socket, a client that
//! connects during a restart of the server waits in the socket's queue instead. The socket is handed on as systemd does it
//! (`sd_listen_fds(3)`: descriptor 3, `LISTEN_FDS`), so that a `.socket` unit can take this program's place. So are the ports that the server
//! opened while it ran and wants kept (`kept.rs`).
//!
//! ```text
//! skerry-supervisor HOST PORT PROGRAM [ARGUMENT...]
//! ```
//!
//! SIGTERM and SIGINT end the server gracefully and then this program, with the server's status. SIGHUP restarts the server
//! gracefully. A server that was killed is started again at once; one that ended by itself is not, unless it had run for a while.

mod kept;
mod signals;

use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::io::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kept::{Channel, Sockets};
use signals::Signals;

/// `SD_LISTEN_FDS_START` of `sd_listen_fds(3)`.
const LISTEN_FD: libc::c_int = 3;
/// Connections that may wait while no server takes them.
const BACKLOG: libc::c_int = 1024;
/// A server that failed sooner than this after its start would fail again: its words are for whoever started it.
const SETTLED: Duration = Duration::from_secs(10);
/// Between the starts of a server that is killed again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(10);

enum Error {
    Usage,
    Listen(String, io::Error),
    Start(String, io::Error),
    Signals(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage => write!(f, "usage: skerry-supervisor HOST PORT PROGRAM [ARGUMENT...]"),
            Error::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{address} is in use. Stop what uses it, or choose another with --port."
                )
            }
            Error::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Error::Start(program, error) => write!(f, "cannot start {program}: {error}"),
            Error::Signals(error) => write!(f, "cannot wait for signals: {error}"),
        }
    }
}

fn main() -> ExitCode {
    match supervise(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say(format_args!("{error}"));
            ExitCode::from(if matches!(error, Error::Usage) { 2 } else { 1 })
        }
    }
}

fn supervise(arguments: &[String]) -> Result<u8, Error> {
    let (address, command) = match arguments {
        [host, port, command @ ..] if !command.is_empty() => (format!("{host}:{port}"), command),
        _ => return Err(Error::Usage),
    };
    // The first descriptor of this program: none that it hands on may be below.
    let mut sockets = Sockets::new(listen(&address)?);
    let signals = Signals::block().map_err(Error::Signals)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let (mut child, mut channel) = start(command, &mut sockets)?;
        let (status, wish) = follow(&mut child, &mut channel, &mut sockets, &signals).map_err(Error::Signals)?;
        let lived = started.elapsed();
        let settled = lived >= SETTLED;
        match wish {
            Wish::End => return Ok(code_of(status)),
            Wish::Restart => pause = FIRST_PAUSE,
            Wish::None if status.signal().is_none() && !settled => return Ok(code_of(status)),
            Wish::None => {
                say(format_args!("the server ended ({status}); it is started again"));
                if settled {
                    pause = FIRST_PAUSE;
                }
                sleep(pause.saturating_sub(lived));
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
}

/// A line for whoever reads the log. That may be a file on a full disk: then nobody hears it, and everything goes on.
fn say(words: fmt::Arguments) {
    let _ = writeln!(io::stderr(), "skerry: {words}");
}

fn listen(address: &str) -> Result<TcpListener, Error> {
    let failed = |error| Error::Listen(address.to_owned(), error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    // SAFETY: the descriptor is open and listens already; this only lengthens its queue.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(listener)
}

fn start(command: &[String], sockets: &mut Sockets) -> Result<(Child, Channel), Error> {
    let failed = |error| Error::Start(command[0].clone(), error);
    let descriptors = sockets.descriptors();
    // Above them, as whatever else is opened for the start.
    let (channel, input) = Channel::pair().map_err(failed)?;
    let mut child = Command::new(&command[0]);
    child
        .args(&command[1..])
        .stdin(input)
        .env("LISTEN_FDS", descriptors.len().to_string())
        .env("LISTEN_FDNAMES", sockets.names())
        .env("SKERRY_SUPERVISED", "1")
        .env("SKERRY_KEEPER_FD", "0")
        .env_remove("LISTEN_PID");
    // SAFETY: between fork and exec only async-signal-safe calls are made, on values copied in.
    unsafe {
        child.pre_exec(move || {
            // The server must not outlive who holds its socket: the next start could not listen.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            for (place, &descriptor) in (LISTEN_FD..).zip(&descriptors) {
                hand_on(descriptor, place)?;
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            Ok(())
        });
    }
    let child = child.spawn().map_err(failed)?;
    Ok((child, channel))
}

/// Has the program that is executed next find a descriptor at `place`.
fn hand_on(descriptor: RawFd, place: RawFd) -> io::Result<()> {
    // SAFETY: both calls take plain numbers. dup2 clears close-on-exec, except onto itself.
    let result = unsafe {
        if descriptor == place {
            libc::fcntl(place, libc::F_SETFD, 0)
        } else {
            libc::dup2(descriptor, place)
        }
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What somebody asked for while the server ran.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    None,
    Restart,
    End,
}

/// Waits for the end of the server, keeps the ports it names and passes on what this program is told meanwhile.
fn follow(
    child: &mut Child,
    channel: &mut Channel,
    sockets: &mut Sockets,
    signals: &Signals,
) -> io::Result<(ExitStatus, Wish)> {
    let mut wish = Wish::None;
    loop {
        // Looked at before each wait: its SIGCHLD may have come together with another one's.
        if let Some(status) = child.try_wait()? {
            return Ok((status, wish));
        }
        let mut waited = [signals.as_raw_fd(), channel.descriptor()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: the array outlives the call, and its length is given.
        if unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, -1) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        if waited[1].revents != 0 {
            channel.serve(child, sockets);
        }
        wish = match signals.next() {
            Some(libc::SIGTERM | libc::SIGINT) => Wish::End,
            Some(libc::SIGHUP) if wish == Wish::None => Wish::Restart,
            _ => continue,
        };
        // SAFETY: the child was not waited for yet, so its id is still its own.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    }
}

/// The shell's convention for a program that a signal ended: 128 and its number.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}
