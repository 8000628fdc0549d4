//! The sandboxes' resolver: passes DNS messages (RFC 1035) on to other servers, over UDP and TCP. It rewrites nothing, so of a message it reads no more
//! than the 12-byte header, but for what it answers audited sandboxes (`names.rs`). Everything is bounded, since both sides are untrusted, and shared so that no sandboxes together take it from another one. A
//! sandbox is its address: the firewall lets no other one in from its device.
//!
//! ```text
//! skerry-resolver --identity WORD --listen ADDRESS:PORT --control PATH --upstream ADDRESS:PORT...
//!     [--cgroup FILE]... [--user UID] [--relay ADDRESS] [--bound NAME=VALUE]...
//! ```
//!
//! The process that is started ends with status 0 as soon as its child answers questions; the child goes on, whatever becomes of who started it. If one runs
//! already that listens on `--control` (`host-process/src/control.rs`), the new one takes over its sockets and dismisses it: no question is lost.

mod names;
mod serve;
mod settings;
mod tcp;
mod udp;
mod upstream;

use std::process::ExitCode;

use settings::Settings;
use skerry_host_process::{finish, start, Error};

const PROGRAM: &str = "skerry-resolver";

fn main() -> ExitCode {
    finish(PROGRAM, run())
}

fn run() -> Result<(), Error> {
    let settings = Settings::parse(std::env::args().skip(1)).map_err(Error::Usage)?;
    let (sockets, control) = start(PROGRAM, &settings.common, settings.listen, &[settings.listen])?;
    serve::serve(settings, sockets, control).map_err(Error::Serve)
}
