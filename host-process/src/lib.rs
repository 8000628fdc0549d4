//! What the programs of the host share that go on without the server: how one starts with no more rights than it needs, is found and replaced by a socket,
//! divides what it has among sandboxes, and reads what they ask and are answered for names.

pub mod control;
pub mod dns;
pub mod shares;
pub mod sockets;
pub mod waiting;

mod error;
mod launch;
mod settings;

pub use error::Error;
pub use settings::{bound, parsed, Common};

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use control::Predecessor;
use launch::Side;
use sockets::Sockets;

/// The beginning of a program's `main`: it goes on as a process of its own, unless it stays, with its sockets and the one that it is found by. If one runs
/// already, that one's sockets are taken over and it is dismissed. The process that was started ends in here, once the other one is ready or has failed. Call
/// while there is one thread.
pub fn start(
    program: &str,
    common: &Common,
    udp: SocketAddr,
    tcp: &[SocketAddr],
) -> Result<(Sockets, UnixListener), Error> {
    let ready = match common.stays {
        true => None,
        false => match launch::detach()? {
            Side::Launcher(code) => std::process::exit(code),
            Side::Program(ready) => Some(ready),
        },
    };
    launch::enter(&common.cgroups)?;
    launch::allow_descriptors()?;
    let predecessor = Predecessor::meet(&common.control, program);
    let handed_over = predecessor.as_ref().and_then(|one| one.take_over(udp, tcp));
    let sockets = match handed_over {
        Some(sockets) => sockets,
        None => Sockets::bind(udp, tcp)?,
    };
    let control = control::listen(&common.control).map_err(|error| Error::Control(common.control.clone(), error))?;
    launch::drop_privileges(common.user)?;
    if let Some(predecessor) = predecessor {
        predecessor.dismiss();
    }
    if let Some(ready) = ready {
        ready.say()?;
    }
    Ok((sockets, control))
}

/// The end of a program's `main`: an error is said on stderr.
pub fn finish(program: &str, result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
