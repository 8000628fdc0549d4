//! `skerry-agent probe-tcp PORT`: whether something listens on a port of this sandbox, for readiness probes. Exit status 0 says yes.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// A listener of the same machine answers at once, unless its queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

pub fn main(port: Option<&OsString>) -> i32 {
    match port.and_then(|word| word.to_str()).and_then(|word| word.parse().ok()) {
        Some(port) if listens(port) => 0,
        Some(_) => 1,
        None => {
            eprintln!("skerry-agent: probe-tcp needs a port number");
            2
        }
    }
}

fn listens(port: u16) -> bool {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    addresses
        .iter()
        .any(|address| TcpStream::connect_timeout(&SocketAddr::new(*address, port), CONNECT_TIMEOUT).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn tells_a_listener_from_a_closed_port_and_from_nonsense() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = OsString::from(listener.local_addr().expect("bound").port().to_string());
        assert_eq!(main(Some(&port)), 0);
        drop(listener);
        assert_eq!(main(Some(&port)), 1);
        assert_eq!(main(Some(&OsString::from("70000"))), 2);
        assert_eq!(main(None), 2);
    }
}
