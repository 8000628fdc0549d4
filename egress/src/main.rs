//! Lets sandboxes out to hosts by name. The firewall leads here what a sandbox sends that may reach domains and not addresses: its questions for addresses, and
//! its connections to the ports of TLS and HTTP. A connection is let through to the host that it names in the clear, if the sandbox may reach that, at an
//! address that this program has found out itself; the address that the sandbox chose means nothing. So nothing else gets out, wherever it was sent.
//!
//! TLS passes as it is, but for hosts for which a sandbox has secret headers (`intercept.rs`).
//!
//! It runs in a network namespace that is one more sandbox to the firewall: what is closed to all of them is closed to it. Everything is bounded, for each
//! sandbox and in all.
//!
//! In a cluster nobody leads packets here: there it is a gateway, a Pod of its own, which sandboxes ask for names. It answers its own address for hosts that
//! are reached through it, and the cluster's network lets a sandbox that may reach domains send to nobody else.
//!
//! ```text
//! skerry-egress --identity WORD --listen ADDRESS --control PATH --resolver ADDRESS:PORT|FILE
//!     [--cgroup FILE]... [--user UID] [--stays true] [--gateway true] [--bound NAME=VALUE]...
//! ```
//!
//! The process that is started ends with status 0 as soon as its child listens; the child goes on, whatever becomes of who started it. One that stays is that
//! child itself. What each sandbox may reach comes over `--control` (`policies.rs`).

mod audit;
mod authority;
mod context;
mod counted;
mod dns;
mod headers;
mod hello;
mod hex;
mod hosts;
mod http;
mod intercept;
mod local_tasks;
mod names;
mod policies;
mod questions;
mod ranges;
mod request;
mod resolve;
mod secret_request;
mod serve;
mod settings;
mod tls;

use std::net::SocketAddr;
use std::process::ExitCode;

use settings::Settings;
use skerry_host_process::{finish, start, Error};

const PROGRAM: &str = "skerry-egress";
/// Of questions, TLS and HTTP.
const PORTS: [u16; 3] = [53, 443, 80];

fn main() -> ExitCode {
    finish(PROGRAM, run())
}

fn run() -> Result<(), Error> {
    let settings = Settings::parse(std::env::args().skip(1)).map_err(Error::Usage)?;
    let tcp = PORTS.map(|port| SocketAddr::from((settings.listen, port)));
    let (sockets, control) = start(PROGRAM, &settings.common, tcp[0], &tcp)?;
    serve::serve(settings, sockets, control).map_err(Error::Serve)
}
