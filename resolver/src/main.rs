//! The sandboxes' resolver: passes DNS messages (RFC 1035) on to other servers, over UDP and TCP. It rewrites nothing, so of a message it reads no more
//! than the 12-byte header. Everything is bounded, since both sides are untrusted, and shared so that no sandboxes together take it from another one. A
//! sandbox is its address: the firewall lets no other one in from its device.
//!
//! ```text
//! skerry-resolver --identity WORD --listen ADDRESS:PORT --control PATH --upstream ADDRESS:PORT...
//!     [--cgroup FILE]... [--user UID] [--bound NAME=VALUE]...
//! ```
//!
//! The process that is started ends with status 0 as soon as its child answers questions; the child goes on, whatever becomes of who started it. If one runs
//! already that listens on `--control` (`control.rs`), the new one takes over its sockets and dismisses it: no question is lost.

mod control;
mod launch;
mod serve;
mod settings;
mod shares;
mod sockets;
mod tcp;
mod udp;
mod upstream;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use control::Predecessor;
use launch::Side;
use settings::Settings;
use sockets::Sockets;

enum Error {
    Usage(String),
    Launch(&'static str, io::Error),
    Cgroup(PathBuf, io::Error),
    Listen(SocketAddr, io::Error),
    Control(PathBuf, io::Error),
    Serve(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(what) => write!(f, "{what}"),
            Error::Launch(what, error) => write!(f, "{what}: {error}"),
            Error::Cgroup(file, error) => write!(f, "cannot enter the cgroup of {}: {error}", file.display()),
            Error::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use. Stop the DNS server that listens on all addresses of this machine, or bind it to its own."
            ),
            Error::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Error::Control(path, error) => write!(f, "cannot listen on {}: {error}", path.display()),
            Error::Serve(error) => write!(f, "cannot wait for questions: {error}"),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "skerry-resolver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let settings = Settings::parse(std::env::args().skip(1)).map_err(Error::Usage)?;
    let ready = match launch::detach()? {
        Side::Launcher(code) => std::process::exit(code),
        Side::Resolver(ready) => ready,
    };
    launch::enter(&settings.cgroups)?;
    launch::allow_descriptors()?;
    let predecessor = Predecessor::meet(&settings.control);
    let sockets = match predecessor.as_ref().and_then(|one| one.take_over(settings.listen)) {
        Some(sockets) => sockets,
        None => Sockets::bind(settings.listen).map_err(|error| Error::Listen(settings.listen, error))?,
    };
    let control =
        control::listen(&settings.control).map_err(|error| Error::Control(settings.control.clone(), error))?;
    launch::drop_privileges(settings.user)?;
    if let Some(predecessor) = predecessor {
        predecessor.dismiss();
    }
    ready.say()?;
    serve::serve(settings, sockets, control).map_err(Error::Serve)
}
