//! What happens in a new process between fork and exec. The agent has one thread, so ordinary code may run here, and
//! whatever blocks (a hung file system) blocks only this process. Failures go back through a close-on-exec pipe.

use crate::failure::{ErrorKind, Failure};
use crate::server::request::Start;
use crate::sys::{self, check};
use crate::users;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::io::RawFd;
use std::path::Path;

/// Where the report pipe is once the descriptors are in order.
const REPORT: RawFd = 3;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the child gets from the agent besides the request.
pub struct Inheritance {
    /// Descriptors that become 0, 1 and 2; all above 2.
    pub stdio: [RawFd; 3],
    /// The terminal's slave, when there is one; also in `stdio`.
    pub terminal: Option<RawFd>,
    /// Where a failure is reported.
    pub report: RawFd,
    /// The limit the agent was started with.
    pub open_files: libc::rlimit,
    /// The agent's own oom_score_adj is low and must not be inherited.
    pub reset_oom_score: bool,
}

/// Becomes the program, or reports why not and exits.
pub fn run(start: &Start, inheritance: &Inheritance) -> ! {
    let mut report_to = inheritance.report;
    let failure = become_program(start, inheritance, &mut report_to);
    let _ = sys::write(report_to, &failure.to_report());
    // 127 is never seen: the agent answers ERROR and forgets the process.
    // SAFETY: ends this process without running the agent's exit handlers.
    unsafe { libc::_exit(127) }
}

fn become_program(start: &Start, inheritance: &Inheritance, report: &mut RawFd) -> Failure {
    let prepared = isolate(inheritance, report)
        .map_err(|error| {
            Failure::new(
                ErrorKind::of_system(&error),
                format!("cannot set up the process: {}", error),
            )
        })
        .and_then(|()| enter_directory(start))
        .and_then(|()| become_user(start, inheritance));
    match prepared {
        Err(failure) => failure,
        Ok(home) => execute(start, home),
    }
}

/// Leaves everything of the agent's behind: its signals, its limits and its descriptors. A copy of another process's pipe
/// would keep that pipe open for as long as this child takes to reach exec.
fn isolate(inheritance: &Inheritance, report: &mut RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on descriptors that are open, with pointers that are valid for each call.
    unsafe {
        check(libc::setsid())?;
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()))?;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &inheritance.open_files))?;
        if let Some(terminal) = inheritance.terminal {
            check(libc::ioctl(terminal, libc::TIOCSCTTY, 0))?;
        }
        for (target, source) in inheritance.stdio.iter().enumerate() {
            check(libc::dup2(*source, target as RawFd))?;
        }
        if *report != REPORT {
            check(libc::dup3(*report, REPORT, libc::O_CLOEXEC))?;
            *report = REPORT;
        }
        // Where this call is missing, close-on-exec has to do.
        libc::syscall(libc::SYS_close_range, REPORT + 1, u32::MAX, 0);
        libc::umask(0o022);
    }
    if inheritance.reset_oom_score {
        // Best effort: raising it is always allowed, but /proc may not be there.
        let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    }
    Ok(())
}

fn enter_directory(start: &Start) -> Result<(), Failure> {
    let cwd = if start.cwd.is_empty() { "/" } else { start.cwd.as_str() };
    let bad = |error: io::Error| {
        Failure::new(
            ErrorKind::BadWorkdir,
            format!("working directory '{}': {}", short(cwd), reason(&error)),
        )
    };
    if start.create_cwd && !Path::new(cwd).is_dir() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(cwd)
            .map_err(bad)?;
    }
    std::env::set_current_dir(cwd).map_err(bad)
}

/// Takes on the user's ids; returns the home directory to set, if one is missing in the environment.
fn become_user(start: &Start, inheritance: &Inheritance) -> Result<Option<String>, Failure> {
    let needs_home = !start.env.iter().any(|(name, _)| name == "HOME");
    let root = || "/".to_string();
    if start.user.is_empty() {
        return Ok(if needs_home {
            Some(users::root_home().unwrap_or_else(root))
        } else {
            None
        });
    }
    let identity = users::resolve(&start.user).map_err(|error| Failure::new(ErrorKind::BadUser, error))?;
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EAGAIN) => Failure::new(
            ErrorKind::Resources,
            format!("user '{}' has too many processes", short(&start.user)),
        ),
        _ => Failure::new(
            ErrorKind::BadUser,
            format!("cannot become user '{}': {}", short(&start.user), reason(&error)),
        ),
    };
    // SAFETY: pointer and length describe `groups`; the rest takes plain numbers.
    unsafe {
        if inheritance.terminal.is_some() {
            // So that the user can open /dev/tty and /dev/stdout again.
            libc::fchown(0, identity.uid, u32::MAX);
        }
        check(libc::setgroups(identity.groups.len(), identity.groups.as_ptr())).map_err(refused)?;
        check(libc::setresgid(identity.gid, identity.gid, identity.gid)).map_err(refused)?;
        check(libc::setresuid(identity.uid, identity.uid, identity.uid)).map_err(refused)?;
    }
    Ok(if needs_home {
        Some(identity.home.unwrap_or_else(root))
    } else {
        None
    })
}

fn execute(start: &Start, home: Option<String>) -> Failure {
    let home = home.map(|home| ("HOME".to_string(), home));
    let argv = strings(start.argv.iter().cloned());
    let envp = strings(
        start
            .env
            .iter()
            .chain(&home)
            .map(|(name, value)| format!("{}={}", name, value)),
    );
    let program = start.argv[0].as_str();
    if program.contains('/') {
        let error = try_exec(program, &argv, &envp);
        return explain(program, program, &error);
    }
    let path = start
        .env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value);
    let mut denied = None;
    for directory in path.split(':').filter(|_| !program.is_empty()) {
        let candidate = if directory.is_empty() {
            program.to_string()
        } else {
            format!("{}/{}", directory, program)
        };
        // To look costs less than a try in vain. A directory that may not be searched is as good as one without the program.
        if !exists(&candidate) {
            continue;
        }
        let error = try_exec(&candidate, &argv, &envp);
        match error.raw_os_error() {
            Some(libc::EACCES) => denied = denied.or(Some((candidate, error))),
            _ => return explain(program, &candidate, &error),
        }
    }
    match denied {
        Some((candidate, error)) => explain(program, &candidate, &error),
        None => Failure::new(
            ErrorKind::NotFound,
            format!("program '{}' was not found in PATH ({})", short(program), short(path)),
        ),
    }
}

/// With the NUL at the end; text with a NUL inside was refused when the request was read.
fn strings(items: impl Iterator<Item = String>) -> Vec<CString> {
    items.filter_map(|item| CString::new(item).ok()).collect()
}

fn try_exec(path: &str, argv: &[CString], envp: &[CString]) -> io::Error {
    let path = match CString::new(path) {
        Ok(path) => path,
        Err(error) => return error.into(),
    };
    let pointers = |items: &[CString]| {
        items
            .iter()
            .map(|item| item.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both vectors end in a null pointer, and the strings they point to are borrowed for the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

fn exists(path: &str) -> bool {
    Path::new(path).metadata().is_ok()
}

fn explain(program: &str, path: &str, error: &io::Error) -> Failure {
    let name = short(program);
    let (kind, message) = match error.raw_os_error() {
        // gVisor's word for an argument that is too long.
        Some(libc::ENAMETOOLONG) if exists(path) => too_long(&name),
        Some(libc::ENOENT) if exists(path) => (
            ErrorKind::NotExecutable,
            format!(
                "'{}' needs an interpreter or dynamic loader that is not in the sandbox",
                name
            ),
        ),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
            (ErrorKind::NotFound, format!("program '{}' was not found", name))
        }
        Some(libc::EACCES) if Path::new(path).is_dir() => {
            (ErrorKind::NotExecutable, format!("'{}' is a directory", name))
        }
        Some(libc::EACCES | libc::EPERM) => (
            ErrorKind::NotExecutable,
            format!("program '{}' may not be executed: {}", name, reason(error)),
        ),
        Some(libc::ENOEXEC | libc::ELIBBAD | libc::EINVAL) => (
            ErrorKind::NotExecutable,
            format!(
                "program '{}' has no format this machine can execute (or no #! line)",
                name
            ),
        ),
        Some(libc::ETXTBSY) => (
            ErrorKind::NotExecutable,
            format!("program '{}' is being written to", name),
        ),
        Some(libc::E2BIG) => too_long(&name),
        _ => (
            ErrorKind::of_system(error),
            format!("program '{}' could not be started: {}", name, reason(error)),
        ),
    };
    Failure::new(kind, message)
}

fn too_long(name: &str) -> (ErrorKind, String) {
    let message = format!(
        "the arguments and environment of '{}' are longer than the kernel accepts",
        name
    );
    (ErrorKind::Invalid, message)
}

/// The system's own words, without Rust's "(os error n)".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn short(text: &str) -> String {
    if text.len() <= 256 {
        return text.to_string();
    }
    text.chars().take(256).chain("...".chars()).collect()
}
