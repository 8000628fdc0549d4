//! The way from the server to the agent of a sandbox that is a Pod. The agent dials a unix socket, as everywhere (agent/PROTOCOL.md); this program, in a
//! container of its own beside it, takes what the agent dials and hands one such connection to each connection of the server. Nothing in the sandbox sees its
//! files or its memory; the network they share, so whoever connects must show a certificate.
//!
//! ```text
//! skerry-pod-link install DIRECTORY VOLUMES [CERTIFICATES]    puts the agent and that file, which lie beside this program, where sandboxes look for them
//! skerry-pod-link serve SOCKET ADDRESS CREDENTIALS
//! skerry-pod-link lead SOCKET ADDRESS CREDENTIALS     where a program listens on the socket and does not dial: it is dialled for each of the server's
//! ```
//!
//! `serve` and `lead` print their port once they listen on `ADDRESS`, as `[::]:7424`. `CREDENTIALS` is a directory of DER files: `certificate`, `authority` and `key`
//! (PKCS #8). The server's certificate must be of that authority and be one for clients, which that of a sandbox is not.

mod credentials;
mod install;
mod serve;

use std::path::Path;
use std::process::ExitCode;

use serve::End;

const USAGE: &str = "usage: skerry-pod-link install DIRECTORY VOLUMES [CERTIFICATES] | serve|lead SOCKET ADDRESS CREDENTIALS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["install", directory, volumes, certificates @ ..] if certificates.len() <= 1 => match volumes.parse() {
            Ok(volumes) => install::install(Path::new(directory), volumes, certificates.first().copied())
                .map_err(|error| error.to_string()),
            Err(_) => Err(USAGE.to_string()),
        },
        [word @ ("serve" | "lead"), socket, address, directory] => match address.parse() {
            Ok(address) => credentials::read(Path::new(directory)).and_then(|tls| {
                let end = match *word {
                    "serve" => End::Dials,
                    _ => End::Listens,
                };
                serve::serve(Path::new(socket), end, address, tls).map_err(|error| error.to_string())
            }),
            Err(_) => Err(USAGE.to_string()),
        },
        _ => Err(USAGE.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skerry-pod-link: {}", error);
            ExitCode::FAILURE
        }
    }
}
