//! Has gVisor's kernels start with a table of file descriptors that need not grow. runsc starts them by this program when it lies in the directory `gvisor-bin`
//! beside runsc; releases of gVisor bring one of their own there.
//!
//! ```text
//! gvisor-sentry-prewarmer PROGRAM ARGUMENT-0 ARGUMENT...
//! ```
//!
//! The kernel of a sandbox moves its standard streams up to 253 and what follows, so its table of 64 grows to 256. In a process of several threads, which each
//! program in Go is from its first moment, the machine's kernel waits for all processors before it uses the larger one (`expand_fdtable` in fs/file.c), some ten
//! milliseconds of each start. In a process of one thread it does not, and the size outlives exec.
//!
//! Without Rust's own start, which has signals ignored that the next program would not expect to be.
#![no_main]

use libc::{c_char, c_int};

/// The highest number that a table of 256 has room for (`startingStdioFD` + 2 in runsc/boot/loader.go).
const HIGHEST: c_int = 255;

/// # Safety
///
/// As for every `main`: `argv` has `argc` pointers and a null.
#[no_mangle]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 3 {
        eprintln!("usage: gvisor-sentry-prewarmer PROGRAM ARGUMENT-0 ARGUMENT...");
        return 2;
    }
    // The lowest number from there that is free, so none that is in use. That it fails costs time later, and nothing else.
    let high = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, HIGHEST);
    if high >= 0 {
        libc::close(high);
    }
    libc::execv(*argv.add(1), argv.add(2));
    eprintln!("gvisor-sentry-prewarmer: {}", std::io::Error::last_os_error());
    127
}
