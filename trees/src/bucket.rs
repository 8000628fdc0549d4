//! A bucket of an object store at a directory. The kernel's side of the mount is made here, with the rights of root; the program that answers it speaks with
//! a server that somebody names, and has none: it gets the open file of the mount, a root of its own with nothing but what it needs to run, the network of
//! its sandbox's buckets, and a user that owns nothing else.
//!
//! Such programs ask `fusermount` for their mount, which gives them an open file. Here this program takes its place (`hand_over`): it gives the one that it finds
//! open already.

use crate::failure::Failure;
use crate::fuse::{self, Fuse};
use crate::jail::{self, Jail};
use crate::sys::{c_string, check, literal, move_mount, openat, pipe};
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;

/// The open file of the mount, in the mounting program.
const FUSE_FD: RawFd = 3;
/// What keeps the pipe of its words from breaking once nobody reads them any more.
const WORDS_FD: RawFd = 4;
/// Only until it is the program: says that it waits for its user, and hears that it has it.
const READY_FD: RawFd = 5;
const GO_FD: RawFd = 6;
/// More of what it says is not of interest.
const MAX_WORDS: u64 = 8192;

pub struct Request<'a> {
    /// Holds `mnt`, where the bucket is seen, and `root`.
    pub place: &'a OsStr,
    pub jail: Jail<'a>,
    pub network: &'a OsStr,
    /// The user namespace of those who see it; empty for everybody's.
    pub users: &'a OsStr,
    pub read_only: bool,
    /// The files to write 0 to to enter its control groups.
    pub groups: &'a OsStr,
    pub command: &'a [&'a OsStr],
}

/// Mounts it. Returns when the program answers, which goes on by itself. Its environment is what standard input says: `NAME=value`, each with a zero behind it.
pub fn mount(request: &Request) -> Result<(), Failure> {
    let environment = read_environment()?;
    for file in request.groups.as_bytes().split(|byte| *byte == b',') {
        fs::write(OsStr::from_bytes(file), b"0").map_err(Failure::at("control group"))?;
    }
    let Fuse { device, tree } = fuse::make(request.users, request.read_only)?;
    let target = c_string(Path::new(request.place).join("mnt").as_os_str().as_bytes())?;
    let target = openat(libc::AT_FDCWD, &target, libc::O_PATH | libc::O_DIRECTORY, 0).map_err(Failure::at("mnt"))?;
    move_mount(tree.as_raw_fd(), target.as_raw_fd()).map_err(Failure::at("mount"))?;
    let network = openat(
        libc::AT_FDCWD,
        &c_string(request.network.as_bytes())?,
        libc::O_RDONLY,
        0,
    )
    .map_err(Failure::at("network namespace"))?;
    // SAFETY: no memory is involved. The next child is the first process of a namespace of its own.
    unsafe {
        check(libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET)).map_err(Failure::at("setns"))?;
        check(libc::unshare(libc::CLONE_NEWPID)).map_err(Failure::at("unshare"))?;
    }
    let (words, say) = pipe(libc::O_CLOEXEC).map_err(Failure::at("pipe"))?;
    // SAFETY: the descriptor is open. What does not fit is lost, rather than that the program waits for a reader.
    check(unsafe { libc::fcntl(say.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map_err(Failure::at("pipe"))?;
    let (ready, tell_ready) = pipe(libc::O_CLOEXEC).map_err(Failure::at("pipe"))?;
    let (go, tell_go) = pipe(libc::O_CLOEXEC).map_err(Failure::at("pipe"))?;
    // SAFETY: there is one thread.
    let child = check(unsafe { libc::fork() }).map_err(Failure::at("fork"))?;
    if child == 0 {
        let kept = [&device, &words, &say, &tell_ready, &go].map(AsRawFd::as_raw_fd);
        let failure = keep_only(kept).and_then(|()| become_program(request, &environment));
        if let Err(failure) = failure {
            eprint!("{}", failure.message);
        }
        // SAFETY: ends this process.
        unsafe { libc::_exit(1) };
    }
    drop((device, say, tell_ready, go));
    let served = lets_go(child, ready, tell_go, request.jail.user).and_then(|()| {
        // Once it has spoken with its server.
        fuse::await_answer(&tree, request.users).map_err(Failure::at("mount"))
    });
    match served {
        Ok(()) => Ok(()),
        Err(failure) => {
            // SAFETY: no memory is involved.
            unsafe { libc::kill(child, libc::SIGKILL) };
            let mut said = Vec::new();
            let _ = File::from(words).take(MAX_WORDS).read_to_end(&mut said);
            let said = String::from_utf8_lossy(&said);
            Err(Failure::refused(if said.trim().is_empty() {
                failure.message
            } else {
                said.into_owned()
            }))
        }
    }
}

/// Gives the child its user, and has it go on.
fn lets_go(child: i32, ready: OwnedFd, tell_go: OwnedFd, user: u32) -> Result<(), Failure> {
    let mut byte = [0];
    if File::from(ready).read(&mut byte).map_err(Failure::at("pipe"))? == 0 {
        return Err(Failure::refused("the program could not be started".into()));
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{child}/{map}"), format!("0 {user} 1")).map_err(Failure::at(map))?;
    }
    File::from(tell_go).write_all(&byte).map_err(Failure::at("pipe"))
}

/// Makes the child the program. Returns only with what kept it from that.
fn become_program(request: &Request, environment: &[CString]) -> Result<(), Failure> {
    let argv = c_strings(request.command)?;
    let settings = jail::settings()?;
    jail::enter(&request.jail, &Path::new(request.place).join("root"))?;
    // SAFETY: both descriptors are open (`keep_only`), and nobody else's.
    let (mut ready, mut go) = unsafe { (File::from_raw_fd(READY_FD), File::from_raw_fd(GO_FD)) };
    jail::drop_user(&settings, &mut || {
        ready.write_all(b"r")?;
        go.read_exact(&mut [0])
    })?;
    jail::drop_rights()?;
    let (arguments, variables) = (pointers(&argv), pointers(environment));
    // SAFETY: both arrays end with a null pointer, and what they point to outlives the call.
    unsafe { libc::execve(arguments[0], arguments.as_ptr(), variables.as_ptr()) };
    let error = std::io::Error::last_os_error();
    Err(Failure::from((&*request.command[0].to_string_lossy(), error)))
}

/// In the place of `fusermount`: hands the open file of the mount over the socket that the caller says it waits at.
pub fn hand_over() -> Result<(), Failure> {
    let Some(socket) = std::env::var("_FUSE_COMMFD")
        .ok()
        .and_then(|text| text.parse::<RawFd>().ok())
    else {
        return Ok(()); // to take the mount away, which is not its to do
    };
    let byte = [0u8; 1];
    let mut piece = libc::iovec {
        iov_base: byte.as_ptr() as *mut _,
        iov_len: 1,
    };
    let mut control = [0u64; 8];
    // SAFETY: the buffer for the descriptor is larger than CMSG_SPACE of one, and aligned as its header; all outlives the call.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut piece;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(std::mem::size_of::<RawFd>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(std::mem::size_of::<RawFd>() as u32) as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), FUSE_FD);
        check(libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL) as i32).map_err(Failure::at("sendmsg"))?;
    }
    Ok(())
}

fn read_environment() -> Result<Vec<CString>, Failure> {
    let mut text = Vec::new();
    std::io::stdin()
        .read_to_end(&mut text)
        .map_err(Failure::at("standard input"))?;
    let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    Ok(words.map(c_string).collect::<std::io::Result<_>>()?)
}

fn c_strings(words: &[&OsStr]) -> Result<Vec<CString>, Failure> {
    Ok(words
        .iter()
        .map(|word| c_string(word.as_bytes()))
        .collect::<std::io::Result<_>>()?)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Leaves these descriptors open, under the numbers that they have here, and no other but standard input and the two for words.
fn keep_only([device, words, say, ready, go]: [RawFd; 5]) -> Result<(), Failure> {
    const ASIDE: RawFd = 100;
    let null = openat(libc::AT_FDCWD, literal(b"/dev/null\0"), libc::O_RDWR, 0).map_err(Failure::at("/dev/null"))?;
    let wanted = [
        (null.as_raw_fd(), 0),
        (say, 1),
        (say, 2),
        (device, FUSE_FD),
        (words, WORDS_FD),
        (ready, READY_FD),
        (go, GO_FD),
    ];
    // SAFETY: the descriptors are open: first out of the way of each other, then to where they belong.
    unsafe {
        let mut aside = Vec::new();
        for (from, to) in wanted {
            let copy = libc::fcntl(from, libc::F_DUPFD_CLOEXEC, ASIDE);
            aside.push((check(copy).map_err(Failure::at("dup"))?, to));
        }
        for (from, to) in aside {
            // Those that only serve to start it go when it does.
            let flags = if to > WORDS_FD { libc::O_CLOEXEC } else { 0 };
            check(libc::dup3(from, to, flags)).map_err(Failure::at("dup"))?;
        }
        check(libc::syscall(libc::SYS_close_range, GO_FD + 1, libc::c_uint::MAX, 0) as i32)
            .map_err(Failure::at("close_range"))?;
    }
    std::mem::forget(null); // closed above
    Ok(())
}
