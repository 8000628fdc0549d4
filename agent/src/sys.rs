//! The system calls the standard library has no word for, each wrapped once: errors become `io::Error`, EINTR is retried,
//! and every descriptor is close-on-exec.

use libc::{c_int, c_void, pid_t};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Turns the -1 convention into a `Result`.
pub fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// What a clock says; one that is not there says 0.
pub fn time(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call; a clock that is not there leaves it as it is.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buffer`, which outlives the call.
    retry(|| unsafe { libc::read(fd, buffer.as_mut_ptr() as *mut c_void, buffer.len()) })
}

pub fn write(fd: RawFd, data: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `data`, which outlives the call.
    retry(|| unsafe { libc::write(fd, data.as_ptr() as *const c_void, data.len()) })
}

/// Wraps a descriptor that a successful call just returned.
///
/// # Safety
/// `fd` must be open and owned by nobody else.
pub unsafe fn owned(fd: RawFd) -> OwnedFd {
    OwnedFd::from_raw_fd(fd)
}

/// How much a pipe or terminal holds that can be read now; as much as a pipe holds by default where the system does not tell.
pub fn readable_bytes(fd: &OwnedFd) -> u64 {
    const DEFAULT_PIPE_SIZE: u64 = 64 << 10;
    let mut count: c_int = 0;
    // SAFETY: FIONREAD writes an int that is valid for the call.
    match check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &mut count) }) {
        Ok(_) => count.max(0) as u64,
        Err(_) => DEFAULT_PIPE_SIZE,
    }
}

/// A pipe, (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for the two descriptors; on success both are ours alone.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((owned(ends[0]), owned(ends[1])))
    }
}

pub fn duplicate(fd: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC returns a new descriptor that is ours alone.
    unsafe { Ok(owned(check(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3))?)) }
}

/// For an end of a pipe or terminal that was just made: none of the other flags that can be changed are set on it.
pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: a plain flag call on an open descriptor.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Asks for so much room in a pipe; what is in it stays.
pub fn set_pipe_size(fd: &OwnedFd, bytes: usize) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the command takes an integer.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as c_int) }).map(drop)
}

/// Undoes `O_NONBLOCK`, which a file may have been opened with so that opening does not wait.
pub fn set_blocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and these commands take and give integers.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Takes the room that a file of so many bytes needs, without changing what is in it; where only that is to be had, zeros may follow it.
/// On an error a part of the room may be taken, which `set_len` gives back.
pub fn reserve(file: &impl AsRawFd, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    if length == 0 {
        return Ok(());
    }
    // gVisor knows no flag.
    // SAFETY: the descriptor is open, and the call takes integers.
    match check(unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, length) }) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        done => return done.map(drop),
    }
    // SAFETY: likewise.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) }).map(drop)
}

/// Has `handler` called for a signal. It may do only what signal-safety(7) allows.
pub fn on_signal(signal: c_int, handler: extern "C" fn(c_int)) {
    // SAFETY: an all-zero sigaction is valid, and the handler lives as long as the program.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

pub fn set_close_on_exec(fd: RawFd) {
    // SAFETY: a flag call; a descriptor that is not open just fails.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

pub fn change_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    check(unsafe { libc::lchown(path.as_ptr(), uid, gid) }).map(drop)
}

pub fn make_fifo(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a NUL-terminated path.
    check(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }).map(drop)
}

/// Sets when a file was changed; when it was read stays.
pub fn set_modified(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let path = c_path(path)?;
    let time = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
    let times = [time(0, libc::UTIME_OMIT), time(seconds, nanoseconds)];
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: a NUL-terminated path and two times.
    check(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), flags) }).map(drop)
}

/// Sends a signal; a process that is already gone is no error to anybody here.
pub fn kill(pid: pid_t, signal: c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

pub fn own_pid() -> pid_t {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() }
}

/// Hands memory that a big request or a burst of output needed back to the system.
pub fn trim_heap() {
    // SAFETY: glibc's allocator may be trimmed at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Keeps glibc from raising its own thresholds after the first big allocation: windows and requests are then
/// unmapped as soon as they are freed.
pub fn keep_heap_small() {
    // SAFETY: tunes the allocator before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Code(i32),
    Signal(i32),
}

/// Reaps one ended child, if there is one. `Err` with ECHILD: there are no children at all.
pub fn reap() -> io::Result<Option<(pid_t, Ending)>> {
    let mut status = 0;
    // SAFETY: `status` is valid for the call.
    let pid = retry(|| unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) as isize })? as pid_t;
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some((
        pid,
        if libc::WIFSIGNALED(status) {
            Ending::Signal(libc::WTERMSIG(status))
        } else {
            Ending::Code(libc::WEXITSTATUS(status))
        },
    )))
}

/// Whether the other side of a socket closed it altogether, or it broke, whatever epoll was told of it.
pub fn is_gone(fd: &impl AsRawFd) -> bool {
    let mut asked = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry, valid for the call, which does not wait.
    let ready = unsafe { libc::poll(&mut asked, 1, 0) };
    ready > 0 && asked.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Level-triggered epoll.
pub struct Epoll(OwnedFd);

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// The other side closed it altogether, or it broke. Told whether it was asked for or not.
pub const GONE: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: returns a new descriptor that is ours alone.
        unsafe { Ok(Epoll(owned(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?))) }
    }

    fn control(&self, operation: c_int, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest,
            u64: token,
        };
        // SAFETY: `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    pub fn add(&self, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    pub fn modify(&self, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    pub fn remove(&self, fd: RawFd) {
        // The only error is that it was not registered, which is what the caller wants.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// The tokens and events that are ready, at once or within `timeout_ms` (-1: for ever). Empty when interrupted.
    pub fn wait(&self, events: &mut [libc::epoll_event], timeout_ms: i32) -> io::Result<usize> {
        let room = events.len() as c_int;
        // SAFETY: pointer and length describe `events`.
        let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) };
        match check(ready) {
            Ok(count) => Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}
