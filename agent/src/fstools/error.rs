//! What went wrong, in the words that the official clients turn into their exceptions.

use serde_json::json;
use std::io;

/// `error_kind` values. The first nine have an exception of their own in the clients, for some operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    NotDirectory,
    PathAlreadyExists,
    IsDirectory,
    DirectoryNotEmpty,
    PermissionDenied,
    FileTooLarge,
    InvalidPath,
    InvalidRequest,
    Io,
}

#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    message: String,
    detail: String,
}

impl Error {
    pub fn new(kind: Kind, message: &str) -> Error {
        Error {
            kind,
            message: message.to_string(),
            detail: String::new(),
        }
    }

    pub fn to_json(&self) -> String {
        let kind = format!("{:?}", self.kind);
        json!({ "error_kind": kind, "message": self.message, "detail": self.detail }).to_string()
    }
}

impl From<io::Error> for Error {
    /// The clients append the path to the message, so it names none.
    fn from(error: io::Error) -> Error {
        let code = error.raw_os_error();
        let (kind, message) = match code.unwrap_or(0) {
            libc::ENOENT => (Kind::NotFound, "No such file or directory"),
            libc::ENOTDIR => (Kind::NotDirectory, "Not a directory"),
            libc::EEXIST => (Kind::PathAlreadyExists, "Path already exists"),
            libc::EISDIR => (Kind::IsDirectory, "Is a directory"),
            libc::ENOTEMPTY => (Kind::DirectoryNotEmpty, "Directory not empty"),
            libc::EACCES | libc::EPERM => (Kind::PermissionDenied, "Permission denied"),
            libc::EROFS => (Kind::PermissionDenied, "Read-only file system"),
            libc::EFBIG => (Kind::FileTooLarge, "File too large"),
            libc::ENAMETOOLONG => (Kind::InvalidPath, "File name too long"),
            libc::ELOOP => (Kind::InvalidPath, "Too many levels of symbolic links"),
            libc::ENOSPC | libc::EDQUOT => (Kind::Io, "No space left on device"),
            libc::ENXIO => (Kind::Io, "No program reads from this pipe, or no such device"),
            libc::EBUSY => (Kind::Io, "Device or resource busy"),
            _ => (Kind::Io, "Input/output error"),
        };
        Error {
            kind,
            message: message.to_string(),
            detail: error.to_string(),
        }
    }
}
