//! Why such a program does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub enum Error {
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
            Error::Serve(error) => write!(f, "cannot wait for connections: {error}"),
        }
    }
}
