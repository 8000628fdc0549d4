//! What the program is told on its command line.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use skerry_host_process::shares::Bounds;
use skerry_host_process::{bound, parsed, Common};

pub struct Settings {
    pub common: Common,
    pub listen: SocketAddr,
    /// Servers to ask, in order: the next one when one does not answer.
    pub upstreams: Vec<SocketAddr>,
    /// How long one server may take to answer, or to accept a connection.
    pub answer: Duration,
    /// A client that asks for many others and divides among them: it may have as much as all together.
    pub relay: Option<IpAddr>,
    /// Questions over UDP that were not answered yet.
    pub questions: Bounds,
    pub connections: Bounds,
    /// How long no whole message may come over a TCP connection.
    pub idle: Duration,
    /// How long one may last, whatever comes over it: resolver libraries ask and leave, and others connect anew (RFC 7766, 6.2.1).
    pub connection: Duration,
}

impl Settings {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut settings = Settings {
            common: Common::default(),
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            upstreams: Vec::new(),
            answer: Duration::from_secs(3),
            relay: None,
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
        settings.common = Common::parse(arguments, |name, value| settings.take(name, value))?;
        if !settings.common.is_whole() || settings.listen.port() == 0 {
            return Err("--identity, --listen with a port and --control are needed".to_owned());
        }
        Ok(settings)
    }

    /// Takes an argument of this program's own. @returns false for another one
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "--listen" => self.listen = parsed(name, value)?,
            "--upstream" => self.upstreams.push(parsed(name, value)?),
            "--relay" => self.relay = Some(parsed(name, value)?),
            "--bound" => self.set_bound(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_bound(&mut self, value: &str) -> Result<(), String> {
        let (name, number) = bound(value)?;
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
