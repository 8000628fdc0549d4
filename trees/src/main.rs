//! What has to be done with trees of files in a few system calls that no tool of the machine makes in this way:
//! `copy` takes a tree while programs write to it, `merge` makes one layer of several, `show` and `hide` mount and unmount one in the mount namespace of a sandbox,
//! `mount-image` and `drop-image` a file system of a sandbox's own.
//! The server is its only caller; what it finds in a sandbox is hostile.

mod copy;
mod entry;
mod failure;
mod file;
mod image;
mod merge;
mod mounts;
mod namespace;
mod sys;
mod watch;

use failure::Failure;
use std::ffi::OsString;
use std::process::exit;

const USAGE: &str = "usage: skerry-trees copy DIRECTORY TARGET [OVERLAY] | copy-inside PID PATH TARGET | merge TARGET LAYER... | show DIRECTORY PID PATH | attach DIRECTORY PID PATH | hide PID MOUNT-ID | mount-image IMAGE TARGET OPTIONS | drop-image IMAGE TARGET";

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&std::ffi::OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let result = match words.as_slice() {
        [command, directory, target] if *command == "copy" => copy::tree(directory, target, None),
        [command, directory, target, overlay] if *command == "copy" => copy::tree(directory, target, Some(overlay)),
        [command, pid, path, target] if *command == "copy-inside" => copy::inside(pid, path, target),
        [command, target, layers @ ..] if *command == "merge" && layers.len() > 1 => merge::layers(target, layers),
        [command, directory, pid, path] if *command == "show" => mounts::show(directory, pid, path),
        [command, directory, pid, path] if *command == "attach" => mounts::attach(directory, pid, path),
        [command, pid, id] if *command == "hide" => mounts::hide(pid, id),
        [command, image, target, options] if *command == "mount-image" => image::mount(image, target, options),
        [command, image, target] if *command == "drop-image" => image::drop(image, target),
        _ => Err(Failure::usage(USAGE)),
    };
    if let Err(failure) = result {
        eprintln!("{}", failure.message);
        exit(failure.code);
    }
}
