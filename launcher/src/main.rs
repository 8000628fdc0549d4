//! Starts commands for the server. A fork copies the page tables of whoever forks, and each page that it writes to afterwards: for the server, a process of
//! some hundred megabytes, that is milliseconds a command. This process is small, and has nothing to copy.
//!
//! ```text
//! skerry-launcher PROTOCOL WHOSE
//! ```
//!
//! PROTOCOL is the version of `frames.rs` that the server speaks: another one's server is refused before anything was started. WHOSE is for people who look at
//! a list of processes. The server talks to standard input and hears from standard output. The end of standard input is the server's own: commands that run
//! go on to their end, and what they say is thrown away. When the last has ended, so does this process. It takes no signals: commands are not cut off when
//! all processes of a service are told to end, the server among them, which ends in order.

mod command;
mod frames;
mod input;
mod program;
mod relay;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let protocol = std::env::args().nth(1);
    if protocol.as_deref() != Some(frames::PROTOCOL) {
        eprintln!("usage: skerry-launcher {} WHOSE", frames::PROTOCOL);
        return ExitCode::from(2);
    }
    match relay::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skerry-launcher: {error}");
            ExitCode::FAILURE
        }
    }
}
