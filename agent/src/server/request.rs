//! What START, ATTACH, KILL_ALL, DIAL and RENEW say, checked once and typed.

use crate::version::VERSIONS;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub enum RequestError {
    Json(String),
    /// The server goes on in a version that this agent does not speak.
    Version(String),
    Field {
        name: &'static str,
        expected: &'static str,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            RequestError::Json(problem) => write!(f, "the request is not a JSON object: {}", problem),
            RequestError::Version(asked) => write!(
                f,
                "the server asks for version {} of the protocol, and this agent speaks {} to {}",
                asked,
                VERSIONS.start(),
                VERSIONS.end()
            ),
            RequestError::Field { name, expected } => write!(f, "'{}' must be {}", name, expected),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    Pipe,
    Null,
    /// Only for stderr: the same pipe as stdout.
    Stdout,
}

#[derive(Debug)]
pub struct Start {
    pub id: String,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub create_cwd: bool,
    pub user: String,
    pub timeout: Option<Duration>,
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
    /// Rows and columns.
    pub pty: Option<(u16, u16)>,
}

#[derive(Debug)]
pub struct Attach {
    pub id: String,
    pub stdout_offset: u64,
    pub stderr_offset: u64,
}

type Object = Map<String, Value>;

fn object(payload: &[u8]) -> Result<Object, RequestError> {
    let mut object: Object = serde_json::from_slice(payload).map_err(|error| RequestError::Json(error.to_string()))?;
    // Servers from before versions were chosen say none, and mean the first.
    let asked = object.remove("version").unwrap_or_else(|| Value::from(1));
    match asked.as_u64() {
        Some(version) if VERSIONS.contains(&u32::try_from(version).unwrap_or(u32::MAX)) => Ok(object),
        _ => Err(RequestError::Version(asked.to_string().chars().take(32).collect())),
    }
}

fn fault<T>(name: &'static str, expected: &'static str) -> Result<T, RequestError> {
    Err(RequestError::Field { name, expected })
}

/// Text that can be handed to the kernel.
fn text(value: Option<Value>, name: &'static str) -> Result<String, RequestError> {
    match value {
        Some(Value::String(text)) if !text.contains('\0') => Ok(text),
        _ => fault(name, "text without NUL characters"),
    }
}

fn id(object: &mut Object) -> Result<String, RequestError> {
    let id = text(object.remove("id"), "id")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return fault("id", "1 to 64 letters, digits, dots, underscores or dashes");
    }
    Ok(id)
}

fn stdio(object: &Object, name: &'static str) -> Result<Stdio, RequestError> {
    match object.get(name).and_then(Value::as_str) {
        Some("pipe") => Ok(Stdio::Pipe),
        Some("null") => Ok(Stdio::Null),
        Some("stdout") if name == "stderr" => Ok(Stdio::Stdout),
        _ => fault(name, "\"pipe\" or \"null\" (stderr also \"stdout\")"),
    }
}

fn environment(value: Option<Value>) -> Result<Vec<(String, String)>, RequestError> {
    const EXPECTED: &str = "an object of names (not empty, without '=') and text";
    let entries = match value {
        Some(Value::Object(entries)) => entries,
        _ => return fault("env", EXPECTED),
    };
    let mut env = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if name.is_empty() || name.contains('=') || name.contains('\0') {
            return fault("env", EXPECTED);
        }
        env.push((name, text(Some(value), "env")?));
    }
    Ok(env)
}

fn size(value: &Value, name: &'static str) -> Result<u16, RequestError> {
    let size = value
        .get(name)
        .and_then(Value::as_u64)
        .filter(|size| *size <= u16::MAX as u64);
    size.map_or_else(|| fault(name, "a number from 0 to 65535"), |size| Ok(size as u16))
}

pub fn parse_start(payload: &[u8]) -> Result<Start, RequestError> {
    let mut object = object(payload)?;
    let argv = match object.remove("argv") {
        Some(Value::Array(items)) if !items.is_empty() => items
            .into_iter()
            .map(|item| text(Some(item), "argv"))
            .collect::<Result<Vec<_>, _>>()?,
        _ => return fault("argv", "a list with at least one item"),
    };
    Ok(Start {
        id: id(&mut object)?,
        argv,
        env: environment(object.remove("env"))?,
        cwd: text(object.remove("cwd"), "cwd")?,
        create_cwd: object
            .get("createCwd")
            .map_or(Some(false), Value::as_bool)
            .map_or_else(|| fault("createCwd", "true or false"), Ok)?,
        user: match object.remove("user") {
            None => String::new(),
            user => text(user, "user")?,
        },
        timeout: match object.get("timeoutMs") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64() {
                Some(ms) => Some(Duration::from_millis(ms)),
                None => return fault("timeoutMs", "null or a whole number of milliseconds"),
            },
        },
        stdin: stdio(&object, "stdin")?,
        stdout: stdio(&object, "stdout")?,
        stderr: stdio(&object, "stderr")?,
        pty: match object.get("pty") {
            None | Some(Value::Null) => None,
            Some(value) => Some((size(value, "rows")?, size(value, "cols")?)),
        },
    })
}

pub fn parse_attach(payload: &[u8]) -> Result<Attach, RequestError> {
    let mut object = object(payload)?;
    let offset = |name: &'static str| match object.get(name).and_then(Value::as_u64) {
        Some(offset) => Ok(offset),
        None => fault(name, "a whole number"),
    };
    let (stdout_offset, stderr_offset) = (offset("stdoutOffset")?, offset("stderrOffset")?);
    Ok(Attach {
        id: id(&mut object)?,
        stdout_offset,
        stderr_offset,
    })
}

/// The signal of KILL_ALL.
pub fn parse_kill_all(payload: &[u8]) -> Result<i32, RequestError> {
    match object(payload)?
        .get("signal")
        .and_then(Value::as_u64)
        .filter(|signal| (1..=64).contains(signal))
    {
        Some(signal) => Ok(signal as i32),
        None => fault("signal", "a number from 1 to 64"),
    }
}

/// The port of DIAL.
pub fn parse_dial(payload: &[u8]) -> Result<u16, RequestError> {
    let port = object(payload)?.get("port").and_then(Value::as_u64);
    match port.and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(port),
        _ => fault("port", "a number from 1 to 65535"),
    }
}

/// The process of RENEW that the server goes on with.
pub fn parse_renew(payload: &[u8]) -> Result<String, RequestError> {
    id(&mut object(payload)?)
}

/// LIST and STATS have no fields, but must be objects.
pub fn check_object(payload: &[u8]) -> Result<(), RequestError> {
    object(payload).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        r#"{"id":"a","argv":["x"],"env":{},"cwd":"/","stdin":"null","stdout":"pipe","stderr":"stdout"}"#;

    #[test]
    fn fills_in_what_may_be_left_out() {
        let start = parse_start(MINIMAL.as_bytes()).unwrap();
        assert_eq!(
            (start.user.as_str(), start.timeout, start.pty, start.create_cwd),
            ("", None, None, false)
        );
        assert_eq!(
            (start.stdin, start.stdout, start.stderr),
            (Stdio::Null, Stdio::Pipe, Stdio::Stdout)
        );
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let cases = [
            (r#""id":"a""#, r#""id":"../x""#, "id"),
            (r#""id":"a""#, r#""id":"""#, "id"),
            (r#"["x"]"#, "[]", "argv"),
            (r#"["x"]"#, r#"["a\u0000b"]"#, "argv"),
            (r#""env":{}"#, r#""env":{"a=b":"c"}"#, "env"),
            (r#""env":{}"#, r#""env":{"a":1}"#, "env"),
            (r#""cwd":"/""#, r#""cwd":null"#, "cwd"),
            (r#""cwd":"/""#, r#""cwd":"/","timeoutMs":-1"#, "timeoutMs"),
            (r#""cwd":"/""#, r#""cwd":"/","pty":{"rows":70000,"cols":1}"#, "rows"),
            (r#""stdin":"null""#, r#""stdin":"stdout""#, "stdin"),
        ];
        for (from, to, field) in cases {
            match parse_start(MINIMAL.replace(from, to).as_bytes()) {
                Err(RequestError::Field { name, .. }) => assert_eq!(name, field),
                other => panic!("{}: {:?}", to, other),
            }
        }
    }

    #[test]
    fn takes_the_version_it_speaks_and_no_other() {
        for taken in ["{}", r#"{"version":1}"#] {
            assert_eq!(check_object(taken.as_bytes()), Ok(()));
        }
        for (refused, asked) in [
            (r#"{"version":7}"#, "7"),
            (r#"{"version":0}"#, "0"),
            (r#"{"version":-1}"#, "-1"),
            (r#"{"version":4294967297}"#, "4294967297"),
            (r#"{"version":1.5}"#, "1.5"),
            (r#"{"version":"1"}"#, r#""1""#),
        ] {
            let problem = check_object(refused.as_bytes()).unwrap_err();
            assert_eq!(problem, RequestError::Version(asked.to_string()));
            assert!(problem.to_string().ends_with("speaks 1 to 1"), "{}", problem);
        }
    }

    #[test]
    fn takes_every_port_there_is() {
        for port in [1, 65535] {
            assert_eq!(parse_dial(format!(r#"{{"port":{}}}"#, port).as_bytes()), Ok(port));
        }
        let nonsense = ["", "0", "65536", r#""80""#, "1.5"].map(|port| match port {
            "" => "{}".to_string(),
            port => format!(r#"{{"port":{}}}"#, port),
        });
        for refused in nonsense {
            match parse_dial(refused.as_bytes()) {
                Err(RequestError::Field { name, .. }) => assert_eq!(name, "port"),
                other => panic!("{}: {:?}", refused, other),
            }
        }
    }

    #[test]
    fn refuses_what_is_not_an_object_and_nesting_without_end() {
        assert!(matches!(parse_start(b"[]"), Err(RequestError::Json(_))));
        assert!(matches!(parse_start(b"\xff\xfe"), Err(RequestError::Json(_))));
        assert!(matches!(
            parse_start("[".repeat(1 << 20).as_bytes()),
            Err(RequestError::Json(_))
        ));
    }
}
