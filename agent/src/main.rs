//! The one program of Skerry inside a sandbox. One binary, two roles, told apart by the name it is called by:
//! `skerry-agent` is the sandbox's init and starts processes for the server (PROTOCOL.md), or with `probe-tcp` tries a port, with `files` gives files
//! away, with `nameserver` says whom to ask for names, with `bind` and `unbind` changes what is mounted where only the sandbox's own kernel can;
//! `modal-sandbox-fs-tools` is the filesystem helper that the official clients run as an ordinary process.

mod bind;
mod failure;
mod files;
mod frame;
mod fstools;
mod mounts;
mod nameserver;
mod probe;
mod sandbox;
mod server;
mod sys;
mod tcp;
mod users;
mod version;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the server's socket is mounted; `argv[1]` overrides it.
const DEFAULT_SOCKET: &str = "/__modal/.run/agent.sock";

fn main() {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().as_bytes().to_vec();
    let code = match name.as_slice() {
        b"modal-sandbox-fs-tools" => fstools::main(arguments.next().as_ref()),
        b"skerry-agent" => match arguments.next() {
            Some(word) if word == "bind" => bind::bind(arguments.next().as_ref(), arguments.next().as_ref()),
            Some(word) if word == "unbind" => bind::unbind(arguments.next().as_ref()),
            Some(word) if word == "files" => files::main(&arguments.collect::<Vec<_>>()),
            Some(word) if word == "nameserver" => nameserver::main(arguments.next().as_ref()),
            Some(word) if word == "probe-tcp" => probe::main(arguments.next().as_ref()),
            socket => init(socket),
        },
        _ => {
            eprintln!("skerry-agent: call me `skerry-agent` or `modal-sandbox-fs-tools`");
            2
        }
    };
    std::process::exit(code);
}

fn init(socket: Option<OsString>) -> i32 {
    let socket = PathBuf::from(socket.unwrap_or_else(|| DEFAULT_SOCKET.into()));
    match sandbox::init::run(&socket) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("skerry-agent: {}", error);
            1
        }
    }
}
