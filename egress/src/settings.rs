//! What the program is told on its command line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use skerry_host_process::shares::Bounds;
use skerry_host_process::{bound, parsed, Common};

pub struct Settings {
    pub common: Common,
    /// Where sandboxes' packets come to: questions on port 53, TLS on 443, HTTP on 80.
    pub listen: Ipv4Addr,
    /// Whom to ask for addresses.
    pub resolver: SocketAddr,
    /// Sandboxes come here by its own address, which is what they are answered: nobody leads them here who chose another one.
    pub is_gateway: bool,
    /// How long an answer may take.
    pub answer: Duration,
    /// Questions that were not answered yet, and connections over which they come.
    pub questions: Bounds,
    /// Connections to hosts.
    pub connections: Bounds,
    /// How long a client may take to say which host it wants.
    pub greeting: Duration,
    /// How long one of a host's addresses may take to accept a connection.
    pub connect: Duration,
}

impl Settings {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut settings = Settings {
            common: Common::default(),
            listen: Ipv4Addr::UNSPECIFIED,
            resolver: SocketAddr::from(([0, 0, 0, 0], 0)),
            is_gateway: false,
            answer: Duration::from_secs(10),
            questions: Bounds {
                total: 384,
                per_client: 32,
            },
            connections: Bounds {
                total: 2048,
                per_client: 256,
            },
            greeting: Duration::from_secs(10),
            connect: Duration::from_secs(10),
        };
        settings.common = Common::parse(arguments, |name, value| settings.take(name, value))?;
        if !settings.common.is_whole() || settings.listen.is_unspecified() || settings.resolver.port() == 0 {
            return Err("--identity, --listen, --resolver with a port and --control are needed".to_owned());
        }
        Ok(settings)
    }

    /// Takes an argument of this program's own. @returns false for another one
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "--listen" => self.listen = parsed(name, value)?,
            "--resolver" if value.starts_with('/') => self.resolver = first_nameserver(value)?,
            "--resolver" => self.resolver = parsed(name, value)?,
            "--gateway" => self.is_gateway = parsed(name, value)?,
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
            "connections" => self.connections.total = number as usize,
            "connections-per-client" => self.connections.per_client = number as usize,
            "greeting-ms" => self.greeting = duration,
            "connect-ms" => self.connect = duration,
            _ => return Err(format!("{name} is not a bound")),
        }
        Ok(())
    }
}

const DNS_PORT: u16 = 53;

/// Of a file as resolv.conf(5) has it.
fn first_nameserver(path: &str) -> Result<SocketAddr, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .next()
        .ok_or_else(|| format!("{path} names no nameserver"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_is_an_address_or_the_first_of_a_file() {
        let path = std::env::temp_dir().join(format!("skerry-egress-resolver-{}", std::process::id()));
        let word = path.to_str().expect("a name in ASCII");
        fs::write(
            &path,
            "# here\nsearch a.test\nnameserver\t2001:db8::53\nnameserver 192.0.2.53\n",
        )
        .expect("a file");
        assert_eq!(
            first_nameserver(word),
            Ok(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53], 53)))
        );
        fs::write(&path, "search a.test\n").expect("a file");
        assert!(first_nameserver(word).is_err());
        fs::remove_file(&path).expect("it is there");
        assert!(first_nameserver(word).is_err());
    }
}
