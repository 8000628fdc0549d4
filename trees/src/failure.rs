//! What went wrong, as the server is told: an exit code for whose fault it is, and words.

use std::io;

pub struct Failure {
    pub code: i32,
    pub message: String,
}

/// The path that was asked for cannot be used.
const BAD_PATH: i32 = 3;
/// There is nothing at the path that was asked for.
const NO_PATH: i32 = 4;
const NO_SPACE: i32 = 5;
/// The program that was to answer would not, in its own words.
const REFUSED: i32 = 6;
const OTHER: i32 = 1;
const USAGE: i32 = 2;

impl Failure {
    pub fn usage(message: &str) -> Failure {
        Failure {
            code: USAGE,
            message: message.into(),
        }
    }

    pub fn bad_path(message: String) -> Failure {
        Failure {
            code: BAD_PATH,
            message,
        }
    }

    pub fn refused(message: String) -> Failure {
        Failure { code: REFUSED, message }
    }

    /// An error about the path that the caller of the server named.
    pub fn of_path(what: &str, error: io::Error) -> Failure {
        let code = match error.raw_os_error() {
            Some(libc::ENOENT) => NO_PATH,
            Some(libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG | libc::EACCES | libc::EEXIST | libc::EXDEV) => {
                BAD_PATH
            }
            Some(libc::ENOSPC | libc::EDQUOT) => NO_SPACE,
            Some(libc::EROFS | libc::EPERM) => BAD_PATH,
            _ => OTHER,
        };
        Failure {
            code,
            message: format!("{what}: {error}"),
        }
    }

    pub fn at(what: &str) -> impl Fn(io::Error) -> Failure + '_ {
        move |error| Failure::from((what, error))
    }
}

impl From<(&str, io::Error)> for Failure {
    fn from((what, error): (&str, io::Error)) -> Failure {
        let full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
        Failure {
            code: if full { NO_SPACE } else { OTHER },
            message: format!("{what}: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::from(("copying", error))
    }
}
