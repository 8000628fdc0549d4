//! What the programs of the host share that go on without the server: how one starts with no more rights than it needs, is found and replaced by a socket,
//! and divides what it has among sandboxes.

pub mod control;
pub mod launch;
pub mod shares;
pub mod sockets;
pub mod waiting;

mod error;
mod settings;

pub use error::Error;
pub use settings::{bound, parsed, Common};

use std::io::{self, Write};
use std::process::ExitCode;

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
