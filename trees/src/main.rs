//! What has to be done with trees of files in a few system calls that no tool of the machine makes in this way:
//! `copy` takes a tree while programs write to it, `merge` makes one layer of several, `take` one of what a sandbox says that it has,
//! `collect` and `deliver` keep one like that of a sandbox, `show` and `hide` mount and unmount one in the mount namespace of a sandbox,
//! `mount-image` and `drop-image` a file system of a sandbox's own, `mount-bucket` a bucket of an object store; `make-namespaces`, `make-devices`, `show-mapped`,
//! `mount-mapped`, `mount-root` and `mount-shared` give one ids of its own; `keep-apart` and `run-apart` have one started where nothing of the others is mounted.
//! The server is its only caller; what it finds in a sandbox is hostile.

mod apart;
mod bucket;
mod child;
mod copy;
mod devices;
mod entry;
mod failure;
mod file;
mod fuse;
mod ids;
mod image;
mod jail;
mod merge;
mod mirror;
mod mounts;
mod namespace;
mod sys;
mod take;
mod watch;

use bucket::Request;
use failure::Failure;
use ids::Overlay;
use jail::Jail;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::exit;

const USAGE: &str = "usage: skerry-trees copy DIRECTORY TARGET [OVERLAY] | copy-inside PID PATH TARGET | merge TARGET LAYER... | take TARGET SINCE [LAYER...] | collect DIRECTORY STATE | deliver DIRECTORY STATE | show DIRECTORY PID PATH | attach DIRECTORY PID PATH | hide PID MOUNT-ID | mount-image IMAGE TARGET OPTIONS | drop-image IMAGE TARGET | mount-bucket PLACE NETWORK USERS USER SCRATCH RESOLVER CERTIFICATES ro|rw GROUPS PROGRAM ARGUMENT... | make-namespaces FIRST-ID USER NETWORK | make-devices FIRST-ID DIRECTORY | show-mapped USER SOURCE TARGET | mount-mapped USER WRITABLE TARGET OPTIONS LOWER... | mount-root USER WRITABLE SHOWN TARGET OPTIONS LOWER... | mount-shared FIRST-ID WRITABLE TARGET OPTIONS LOWER... | keep-apart DIRECTORY PLACE | run-apart PLACE PATH... -- PROGRAM ARGUMENT...";

fn main() {
    let mut arguments = std::env::args_os();
    if arguments.next().map_or(false, |name| {
        Path::new(&name).file_name() == Some(OsStr::new("fusermount"))
    }) {
        return end(bucket::hand_over());
    }
    let arguments: Vec<OsString> = arguments.collect();
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let result = match words.as_slice() {
        [command, directory, target] if *command == "copy" => copy::tree(directory, target, None),
        [command, directory, target, overlay] if *command == "copy" => copy::tree(directory, target, Some(overlay)),
        [command, pid, path, target] if *command == "copy-inside" => copy::inside(pid, path, target),
        [command, target, layers @ ..] if *command == "merge" && layers.len() > 1 => merge::layers(target, layers),
        [command, target, since, layers @ ..] if *command == "take" => take::take(target, since, layers),
        [command, directory, state] if *command == "collect" => mirror::collect(directory, state),
        [command, directory, state] if *command == "deliver" => mirror::deliver(directory, state),
        [command, directory, pid, path] if *command == "show" => mounts::show(directory, pid, path),
        [command, directory, pid, path] if *command == "attach" => mounts::attach(directory, pid, path),
        [command, pid, id] if *command == "hide" => mounts::hide(pid, id),
        [command, image, target, options] if *command == "mount-image" => image::mount(image, target, options),
        [command, image, target] if *command == "drop-image" => image::drop(image, target),
        [command, place, network, users, user, scratch, resolver, certificates, mode, groups, program @ ..]
            if *command == "mount-bucket" && !program.is_empty() =>
        {
            mount_bucket(
                [
                    place,
                    network,
                    users,
                    user,
                    scratch,
                    resolver,
                    certificates,
                    mode,
                    groups,
                ],
                program,
            )
        }
        [command, first, user, network] if *command == "make-namespaces" => ids::make_namespaces(first, user, network),
        [command, first, directory] if *command == "make-devices" => devices::make(first, directory),
        [command, namespace, source, target] if *command == "show-mapped" => ids::show(namespace, source, target),
        [command, namespace, writable, shown, target, options, lowers @ ..]
            if *command == "mount-root" && !lowers.is_empty() =>
        {
            ids::show(namespace, writable, shown)
                .and_then(|()| overlay(writable, target, options, lowers).mount_for(namespace))
        }
        [command, namespace, writable, target, options, lowers @ ..]
            if *command == "mount-mapped" && !lowers.is_empty() =>
        {
            overlay(writable, target, options, lowers).mount_for(namespace)
        }
        [command, first, writable, target, options, lowers @ ..]
            if *command == "mount-shared" && !lowers.is_empty() =>
        {
            overlay(writable, target, options, lowers).mount_shared(first)
        }
        [command, directory, place] if *command == "keep-apart" => apart::keep(directory, place),
        [command, place, rest @ ..] if *command == "run-apart" => match rest.iter().position(|word| *word == "--") {
            Some(end) => apart::run(place, &rest[..end], &rest[end + 1..]),
            None => Err(Failure::usage(USAGE)),
        },
        _ => Err(Failure::usage(USAGE)),
    };
    end(result);
}

fn overlay<'a>(writable: &'a OsStr, target: &'a OsStr, options: &'a OsStr, lowers: &'a [&'a OsStr]) -> Overlay<'a> {
    Overlay {
        writable,
        target,
        options,
        lowers,
    }
}

fn mount_bucket(
    [place, network, users, user, scratch, resolver, certificates, mode, groups]: [&OsStr; 9],
    command: &[&OsStr],
) -> Result<(), Failure> {
    let user = user.to_str().and_then(|text| text.parse().ok());
    let jail = Jail {
        user: user.filter(|user| *user != 0).ok_or(Failure::usage(USAGE))?,
        scratch,
        resolver,
        certificates,
    };
    let read_only = mode == "ro";
    bucket::mount(&Request {
        place,
        jail,
        network,
        users,
        read_only,
        groups,
        command,
    })
}

fn end(result: Result<(), Failure>) {
    if let Err(failure) = result {
        eprintln!("{}", failure.message);
        exit(failure.code);
    }
}
