//! What the program is told on its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::shares::Bounds;

pub struct Settings {
    /// Says to whoever asks on the control socket which program with which arguments this is. One word.
    pub identity: String,
    pub listen: SocketAddr,
    /// A unix socket in a directory that only its owner may enter.
    pub control: PathBuf,
    /// `cgroup.procs` files of the groups to be in from the start.
    pub cgroups: Vec<PathBuf>,
    /// Who it becomes once it has its sockets; undefined leaves it who it is.
    pub user: Option<u32>,
    /// Servers to ask, in order: the next one when one does not answer.
    pub upstreams: Vec<SocketAddr>,
    /// How long one server may take to answer, or to accept a connection.
    pub answer: Duration,
    /// Questions over UDP that were not answered yet.
    pub questions: Bounds,
    pub connections: Bounds,
    /// How long no whole message may come over a TCP connection.
    pub idle: Duration,
    /// How long one may last, whatever comes over it: resolver libraries ask and leave, and others connect anew (RFC 7766, 6.2.1).
    pub connection: Duration,
}

impl Settings {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut settings = Settings {
            identity: String::new(),
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            control: PathBuf::new(),
            cgroups: Vec::new(),
            user: None,
            upstreams: Vec::new(),
            answer: Duration::from_secs(3),
            questions: Bounds {
                total: 512,
                per_client: 64,
            },
            connections: Bounds {
                total: 256,
                per_client: 16,
            },
            idle: Duration::from_secs(10),
            connection: Duration::from_secs(60),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--identity" => settings.identity = value,
                "--listen" => settings.listen = parsed(&name, &value)?,
                "--control" => settings.control = PathBuf::from(value),
                "--cgroup" => settings.cgroups.push(PathBuf::from(value)),
                "--user" => settings.user = Some(parsed(&name, &value)?),
                "--upstream" => settings.upstreams.push(parsed(&name, &value)?),
                "--bound" => settings.set_bound(&value)?,
                _ => return Err(format!("{name} is not an option")),
            }
        }
        let word = !settings.identity.is_empty() && settings.identity.bytes().all(|byte| byte.is_ascii_graphic());
        if !word || settings.listen.port() == 0 || settings.control.file_name().is_none() {
            return Err("--identity, --listen with a port and --control are needed".to_owned());
        }
        Ok(settings)
    }

    fn set_bound(&mut self, bound: &str) -> Result<(), String> {
        let (name, value) = bound
            .split_once('=')
            .ok_or_else(|| format!("{bound} is not NAME=VALUE"))?;
        let number: u32 = parsed(name, value)?;
        let duration = Duration::from_millis(u64::from(number));
        match name {
            "answer-ms" => self.answer = duration,
            "questions" => self.questions.total = number as usize,
            "questions-per-client" => self.questions.per_client = number as usize,
            "connections" => self.connections.total = number as usize,
            "connections-per-client" => self.connections.per_client = number as usize,
            "idle-ms" => self.idle = duration,
            "connection-ms" => self.connection = duration,
            _ => return Err(format!("{name} is not a bound")),
        }
        Ok(())
    }
}

fn parsed<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value} is no value for {name}"))
}
