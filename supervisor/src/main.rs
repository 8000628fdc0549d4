//! Holds the listening socket of the server and keeps the server running.
//!
//! The official clients give up on a refused connection within a second. While this program holds the socket, a client that
//! connects during a restart of the server waits in the socket's queue instead. The socket is handed on as systemd does it
//! (`sd_listen_fds(3)`: descriptor 3, `LISTEN_FDS=1`), so that a `.socket` unit can take this program's place.
//!
//! ```text
//! skerry-supervisor HOST PORT PROGRAM [ARGUMENT...]
//! ```
//!
//! SIGTERM and SIGINT end the server gracefully and then this program, with the server's status. SIGHUP restarts the server
//! gracefully. A server that was killed is started again at once; one that ended by itself is not, unless it had run for a while.

use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::io::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
    let listener = listen(&address)?;
    let signals = Signals::block().map_err(Error::Signals)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let mut child = start(command, &listener)?;
        let (status, wish) = signals.follow(&mut child).map_err(Error::Signals)?;
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

fn start(command: &[String], listener: &TcpListener) -> Result<Child, Error> {
    let socket = listener.as_raw_fd();
    let mut child = Command::new(&command[0]);
    child
        .args(&command[1..])
        .env("LISTEN_FDS", "1")
        .env("SKERRY_SUPERVISED", "1")
        .env_remove("LISTEN_PID");
    // SAFETY: between fork and exec only async-signal-safe calls are made, on values copied in.
    unsafe {
        child.pre_exec(move || {
            // The server must not outlive who holds its socket: the next start could not listen.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // dup2 clears close-on-exec, except onto itself.
            let flags = if socket == LISTEN_FD {
                libc::fcntl(LISTEN_FD, libc::F_SETFD, 0)
            } else {
                libc::dup2(socket, LISTEN_FD)
            };
            if flags < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            Ok(())
        });
    }
    child.spawn().map_err(|error| Error::Start(command[0].clone(), error))
}

/// What somebody asked for while the server ran.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    None,
    Restart,
    End,
}

/// The signals this program lives by, taken one at a time instead of by handlers.
struct Signals(libc::sigset_t);

impl Signals {
    fn block() -> io::Result<Signals> {
        // SAFETY: the set is initialised by sigemptyset before anything reads it.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD] {
                libc::sigaddset(&mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Signals(set))
        }
    }

    /// Waits for the end of the server and passes on what it is told meanwhile.
    fn follow(&self, child: &mut Child) -> io::Result<(ExitStatus, Wish)> {
        let mut wish = Wish::None;
        loop {
            // Looked at before each wait: its SIGCHLD may have come together with another one's.
            if let Some(status) = child.try_wait()? {
                return Ok((status, wish));
            }
            // SAFETY: the set was initialised by `block`; no signal information is asked for.
            let signal = unsafe { libc::sigwaitinfo(&self.0, std::ptr::null_mut()) };
            wish = match signal {
                libc::SIGTERM | libc::SIGINT => Wish::End,
                libc::SIGHUP if wish == Wish::None => Wish::Restart,
                _ => continue,
            };
            // SAFETY: the child was not waited for yet, so its id is still its own.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        }
    }
}

/// The shell's convention for a program that a signal ended: 128 and its number.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}
