//! The filesystem helper: what the official clients' file API runs, one process per operation. `argv[1]` is the operation as
//! JSON, content goes through stdin and stdout, and a failure is one JSON object on stderr.

mod directory;
mod entry;
mod error;
mod inotify;
mod read;
mod remove;
mod settle;
mod watch;
mod watch_tree;
mod write;

use error::{Error, Kind};
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

type Arguments = Map<String, Value>;

/// Runs one operation; returns the exit code.
pub fn main(operation: Option<&OsString>) -> i32 {
    match run(operation) {
        Ok(()) => 0,
        Err(error) => {
            // Nobody to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "{}", error.to_json());
            1
        }
    }
}

fn run(operation: Option<&OsString>) -> Result<(), Error> {
    let invalid = |message: &str| Error::new(Kind::InvalidRequest, message);
    let text = operation
        .and_then(|text| text.to_str())
        .ok_or_else(|| invalid("the operation is missing"))?;
    let commands: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| invalid("the operation is not a JSON object"))?;
    let mut commands = commands.into_iter();
    match (commands.next(), commands.next()) {
        (Some((name, Value::Object(arguments))), None) => dispatch(&name, &arguments),
        _ => Err(invalid("there must be one operation with an object of arguments")),
    }
}

fn dispatch(name: &str, arguments: &Arguments) -> Result<(), Error> {
    let path = path(arguments)?;
    match name {
        "ReadFile" => read::read_file(&path, number(arguments, "max_bytes")?),
        "WriteFile" => write::write_file(&path, flag(arguments, "through")?),
        "ListFiles" => directory::list_files(&path),
        "Stat" => directory::stat(&path),
        "MakeDirectory" => directory::make_directory(&path, flag(arguments, "parents")?),
        "Remove" => remove::remove(&path, flag(arguments, "recursive")?),
        "Settle" => settle::settle(&path),
        "RemakeFifos" => settle::remake_fifos(arguments.get("paths")),
        "Watch" => watch::watch(&path, &watch::Options::parse(arguments)?),
        _ => Err(Error::new(Kind::InvalidRequest, "there is no such operation")),
    }
}

fn path(arguments: &Arguments) -> Result<PathBuf, Error> {
    let path = arguments.get("path").and_then(Value::as_str).unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Error::new(Kind::InvalidPath, "the path must be absolute"));
    }
    if path.contains('\0') {
        return Err(Error::new(Kind::InvalidPath, "the path contains a NUL character"));
    }
    Ok(PathBuf::from(path))
}

fn number(arguments: &Arguments, name: &str) -> Result<Option<u64>, Error> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let invalid = || Error::new(Kind::InvalidRequest, "a number must be whole and not negative");
            value.as_u64().map(Some).ok_or_else(invalid)
        }
    }
}

fn flag(arguments: &Arguments, name: &str) -> Result<bool, Error> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Error::new(Kind::InvalidRequest, "a flag must be true or false")),
    }
}
