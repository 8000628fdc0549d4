//! Start-up and the event loop: the agent as PID 1 of the sandbox, or, in tests, as an ordinary process that adopts the orphans
//! among its descendants.

use super::agent::{Agent, Token};
use super::spawn::Template;
use crate::server::dialer::Dialer;
use crate::sys::{self, check, Epoll};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Of user and group: any but root's that hardly anybody has.
const SAVED_ID: u32 = 65533;
/// That programs begin with; they may raise it.
const OPEN_FILES: libc::rlim_t = 65_536;
/// Who sent a signal used kill(2). <asm-generic/siginfo.h>
const SI_USER: i32 = 0;

#[derive(Debug)]
pub enum InitError {
    Setup(&'static str, io::Error),
    Wait(io::Error),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            InitError::Setup(what, error) => write!(f, "cannot set up {}: {}", what, error),
            InitError::Wait(error) => write!(f, "cannot wait for events: {}", error),
        }
    }
}

fn setup<T>(what: &'static str, result: io::Result<T>) -> Result<T, InitError> {
    result.map_err(|error| InitError::Setup(what, error))
}

/// Serves the sandbox until the engine says stop.
pub fn run(socket: &Path) -> Result<(), InitError> {
    sys::keep_heap_small();
    let dev_null = setup("standard descriptors", own_descriptors())?;
    let dialer = setup("the server's address", Dialer::new(socket))?;
    let is_init = sys::own_pid() == 1;
    if !is_init {
        // SAFETY: plain flags.
        unsafe {
            setup(
                "adoption of orphans",
                check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)),
            )?;
            // Whoever started an agent by hand takes it and its processes along.
            setup(
                "end with the parent",
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0)),
            )?;
        }
    }
    let signals = setup("signals", take_signals(is_init))?;
    let open_files = setup("limits", raise_open_files())?;
    // Nothing that the sandbox removes or unmounts may be held by the agent. A sandbox without / cannot be.
    let _ = std::env::set_current_dir("/");
    let epoll = setup("epoll", Epoll::new())?;
    setup(
        "epoll",
        epoll.add(signals.as_raw_fd(), sys::READABLE, Token::Signals.pack()),
    )?;
    let template = Template {
        dev_null,
        open_files,
        reset_oom_score: lower_oom_score(is_init),
    };
    if is_init {
        setup("limits", forbid_core_files())?;
        protect_from_programs();
    }
    serve(Agent::new(epoll, template, dialer), &signals, is_init)
}

fn serve(mut agent: Agent, signals: &OwnedFd, is_init: bool) -> Result<(), InitError> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    agent.dial();
    loop {
        agent.flush();
        let ready = agent
            .epoll
            .wait(&mut events, agent.timers.sleep_ms())
            .map_err(InitError::Wait)?;
        for event in &events[..ready] {
            let (token, happened) = (event.u64, event.events);
            match Token::unpack(token) {
                Token::Signals => {
                    let Signals { stop, look } = read_signals(signals, is_init);
                    if look {
                        agent.look_at_connections();
                    }
                    let has_children = agent.reap();
                    if (stop && !agent.stop()) || (agent.stopping && !has_children) {
                        return Ok(());
                    }
                }
                Token::Connection(key) => agent.on_connection(key, happened),
                Token::Process(key, channel) => agent.on_process(key, channel, happened),
                Token::Leftover(key) => agent.on_leftover(key),
                Token::Port(key) => agent.on_port(key, happened),
            }
        }
        if !agent.on_timers() {
            return Ok(());
        }
    }
}

/// Makes sure that 0, 1 and 2 are taken and that everything above them is closed on exec; returns /dev/null, kept for the case that
/// the sandbox removes it.
fn own_descriptors() -> io::Result<OwnedFd> {
    loop {
        // SAFETY: a NUL-terminated path; the new descriptor is ours alone.
        let fd = unsafe { check(libc::open(b"/dev/null\0".as_ptr() as *const libc::c_char, libc::O_RDWR))? };
        if fd > 2 {
            if let Ok(entries) = fs::read_dir("/proc/self/fd") {
                let open = entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
                open.filter(|fd| *fd > 2).for_each(sys::set_close_on_exec);
            }
            sys::set_close_on_exec(fd);
            // SAFETY: just opened.
            return Ok(unsafe { sys::owned(fd) });
        }
    }
}

/// SIGCHLD, SIGTERM and SIGUSR1 come through a descriptor; whatever else the agent's parent ignored is set back to normal, since
/// children would inherit it. Init takes no other signal; SIGKILL and SIGSTOP, which cannot be held back, Linux keeps from it, and under gVisor a filter does.
fn take_signals(is_init: bool) -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by sigemptyset and valid for each call; the new descriptor is ours alone.
    unsafe {
        for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        let mut blocked = set;
        if is_init {
            libc::sigfillset(&mut blocked);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &blocked, std::ptr::null_mut()))?;
        Ok(sys::owned(check(libc::signalfd(
            -1,
            &set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?))
    }
}

/// No program of a sandbox leaves its memory in a file.
fn forbid_core_files() -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` is valid for the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) }).map(drop)
}

/// Keeps the sandbox's programs, of whatever user, from tracing, reading and limiting init: what was left of it to them would be the end of every later call.
/// Best effort, since only a sandbox with several users has any to be told apart.
fn protect_from_programs() {
    // SAFETY: plain numbers.
    unsafe {
        // No memory, environment or descriptor of it is shown (PTRACE_MODE_READ and ATTACH of ptrace(2)). A program that it becomes is dumpable again.
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        // Who limits another needs all three of its ids to be their own one, prlimit(2): that is nobody now. A program's saved ids are set when it is executed.
        libc::setresgid(u32::MAX, u32::MAX, SAVED_ID);
        libc::setresuid(u32::MAX, u32::MAX, SAVED_ID);
    }
}

struct Signals {
    /// The engine asked to stop: as init the agent obeys only SIGTERM from outside its PID namespace, which has no sender's number here. A sender inside can say any
    /// number, but not that it used kill(2), rt_sigqueueinfo(2).
    stop: bool,
    /// The engine took a checkpoint, whoever says so: looking costs little.
    look: bool,
}

/// Empties the signal descriptor.
fn read_signals(signals: &OwnedFd, is_init: bool) -> Signals {
    const SIZE: usize = std::mem::size_of::<libc::signalfd_siginfo>();
    let mut buffer = [0; SIZE];
    let (mut stop, mut look) = (false, false);
    while let Ok(SIZE) = sys::read(signals.as_raw_fd(), &mut buffer) {
        // SAFETY: the kernel filled in exactly one of these, and any bytes make a valid one.
        let info: libc::signalfd_siginfo = unsafe { std::ptr::read_unaligned(buffer.as_ptr().cast()) };
        let from_outside = info.ssi_pid == 0 && info.ssi_code == SI_USER;
        stop |= info.ssi_signo == libc::SIGTERM as u32 && (!is_init || from_outside);
        look |= info.ssi_signo == libc::SIGUSR1 as u32;
    }
    Signals { stop, look }
}

/// Every process takes a few descriptors of the agent. Returns the limit to give to children, which is what the runtime gave the agent unless it could not.
fn raise_open_files() -> io::Result<libc::rlimit> {
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raised))?;
        limit.rlim_cur = limit.rlim_cur.min(OPEN_FILES);
        Ok(limit)
    }
}

/// Makes init the last to die when memory runs out, where that is allowed. True when children have to be set back.
fn lower_oom_score(is_init: bool) -> bool {
    const FILE: &str = "/proc/self/oom_score_adj";
    if is_init {
        let _ = fs::write(FILE, "-900");
    }
    fs::read_to_string(FILE).is_ok_and(|score| score.trim_start().starts_with('-'))
}
