//! Why the server gets ERROR as its answer: the kinds of PROTOCOL.md, each with what to tell the caller.

use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such program.
    NotFound,
    NotExecutable,
    BadWorkdir,
    BadUser,
    UnknownProcess,
    /// The sandbox has no more of something: processes, descriptors, memory.
    Resources,
    /// Nothing takes connections on the port.
    Refused,
    /// What listens on the port did not take the connection in time.
    TimedOut,
    /// The request is not what PROTOCOL.md asks for.
    Invalid,
    Internal,
}

impl ErrorKind {
    const ALL: [ErrorKind; 10] = [
        ErrorKind::NotFound,
        ErrorKind::NotExecutable,
        ErrorKind::BadWorkdir,
        ErrorKind::BadUser,
        ErrorKind::UnknownProcess,
        ErrorKind::Resources,
        ErrorKind::Refused,
        ErrorKind::TimedOut,
        ErrorKind::Invalid,
        ErrorKind::Internal,
    ];

    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "not-found",
            ErrorKind::NotExecutable => "not-executable",
            ErrorKind::BadWorkdir => "bad-workdir",
            ErrorKind::BadUser => "bad-user",
            ErrorKind::UnknownProcess => "unknown-process",
            ErrorKind::Resources => "resources",
            ErrorKind::Refused => "refused",
            ErrorKind::TimedOut => "timed-out",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Internal => "internal",
        }
    }

    /// For a system call that failed where nothing of the caller's can be the reason.
    pub fn of_system(error: &io::Error) -> ErrorKind {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE) => ErrorKind::Resources,
            _ => ErrorKind::Internal,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub message: String,
}

/// Longest message that a child reports: with the rest it fits into a pipe at once.
const REPORTED: usize = 4000;

impl Failure {
    pub fn new(kind: ErrorKind, message: impl ToString) -> Failure {
        Failure {
            kind,
            message: message.to_string(),
        }
    }

    pub fn invalid(problem: impl ToString) -> Failure {
        Failure::new(ErrorKind::Invalid, problem)
    }

    /// What a child writes to the agent: the word of the kind, a NUL, the message.
    pub fn to_report(&self) -> Vec<u8> {
        let mut report = self.kind.as_str().as_bytes().to_vec();
        report.push(0);
        report.extend(self.message.bytes().take(REPORTED));
        report
    }

    pub fn from_report(report: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(report);
        let (word, message) = text.split_once('\0').unwrap_or(("", &text));
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        Failure::new(kind.unwrap_or(ErrorKind::Internal), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        for kind in ErrorKind::ALL {
            let failure = Failure::new(kind, "why: é");
            assert_eq!(Failure::from_report(&failure.to_report()), failure);
        }
    }

    #[test]
    fn a_report_is_bounded_and_one_that_is_none_is_our_fault() {
        let long = Failure::invalid("x".repeat(100_000));
        assert_eq!(Failure::from_report(&long.to_report()).message.len(), REPORTED);
        for junk in [&b""[..], b"\xff", b"none\0x"] {
            assert_eq!(Failure::from_report(junk).kind, ErrorKind::Internal);
        }
    }
}
