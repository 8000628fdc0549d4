//! Connections to ports of the sandbox itself, without waiting for them.

use crate::sys::{self, check};
use libc::{c_int, c_void, sa_family_t, socklen_t};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::io::{AsRawFd, OwnedFd};

/// Interfaces can have any number of addresses.
const MOST_ADDRESSES: usize = 16;

/// Where a server of this sandbox may listen: the loopback first, then, if that is not enough, the addresses of its interfaces.
pub struct OwnAddresses {
    ahead: std::vec::IntoIter<IpAddr>,
    looked: bool,
}

impl OwnAddresses {
    pub fn new() -> OwnAddresses {
        let loopback = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        OwnAddresses {
            ahead: loopback.into_iter(),
            looked: false,
        }
    }
}

impl Iterator for OwnAddresses {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        if let Some(address) = self.ahead.next() {
            return Some(address);
        }
        if !std::mem::replace(&mut self.looked, true) {
            self.ahead = of_interfaces().into_iter();
        }
        self.ahead.next()
    }
}

/// Those that mean this sandbox wherever they are used: no loopback, none that only holds on one link.
fn of_interfaces() -> Vec<IpAddr> {
    let mut found = Vec::new();
    // SAFETY: on success `list` is a linked list that is ours until it is freed; each address is as long as its family says.
    unsafe {
        let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
        if libc::getifaddrs(&mut list) != 0 {
            return found;
        }
        let mut entry = list;
        while !entry.is_null() && found.len() < MOST_ADDRESSES {
            let address = (*entry).ifa_addr;
            entry = (*entry).ifa_next;
            if address.is_null() {
                continue;
            }
            let ip = match c_int::from((*address).sa_family) {
                libc::AF_INET => {
                    let address = &*(address as *const libc::sockaddr_in);
                    IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
                }
                libc::AF_INET6 => {
                    let address = &*(address as *const libc::sockaddr_in6);
                    IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr))
                }
                _ => continue,
            };
            let link_local = matches!(ip, IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfe80);
            if !ip.is_loopback() && !link_local {
                found.push(ip);
            }
        }
        libc::freeifaddrs(list);
    }
    found
}

/// Begins to connect. `outcome` tells how it went once the socket is writable.
pub fn connect(ip: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the new descriptor is ours alone.
    let socket = unsafe { sys::owned(check(libc::socket(family, kind, 0))?) };
    set(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1 as c_int)?;
    let begun = match ip {
        IpAddr::V4(ip) => {
            // SAFETY: all zeros is a valid sockaddr_in.
            let mut address: libc::sockaddr_in = unsafe { zeroed() };
            address.sin_family = libc::AF_INET as sa_family_t;
            address.sin_port = port.to_be();
            address.sin_addr.s_addr = u32::from(ip).to_be();
            connect_to(&socket, &address)
        }
        IpAddr::V6(ip) => {
            // SAFETY: all zeros is a valid sockaddr_in6.
            let mut address: libc::sockaddr_in6 = unsafe { zeroed() };
            address.sin6_family = libc::AF_INET6 as sa_family_t;
            address.sin6_port = port.to_be();
            address.sin6_addr.s6_addr = ip.octets();
            connect_to(&socket, &address)
        }
    };
    match begun {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn connect_to<Address>(socket: &OwnedFd, address: &Address) -> io::Result<()> {
    let size = size_of::<Address>() as socklen_t;
    // SAFETY: pointer and size describe `address`.
    check(unsafe { libc::connect(socket.as_raw_fd(), (address as *const Address).cast(), size) }).map(drop)
}

/// Whether a connection that was begun has come about.
pub fn outcome(socket: &OwnedFd) -> io::Result<()> {
    let mut code: c_int = 0;
    let mut size = size_of::<c_int>() as socklen_t;
    let value = (&mut code as *mut c_int).cast::<c_void>();
    // SAFETY: an int that is valid for the call.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, value, &mut size) })?;
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    // Where nobody listens on a port that the system also gives to clients, a socket can come to be connected with itself.
    match (end(socket, libc::getsockname)?, end(socket, libc::getpeername)?) {
        (own, peer) if own == peer => Err(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
        _ => Ok(()),
    }
}

type Ask = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut socklen_t) -> c_int;

fn end(socket: &OwnedFd, ask: Ask) -> io::Result<Option<SocketAddr>> {
    // SAFETY: all zeros is a valid sockaddr_storage, which has room for every address and is aligned for it.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let mut size = size_of::<libc::sockaddr_storage>() as socklen_t;
        let pointer = &mut storage as *mut libc::sockaddr_storage;
        check(ask(socket.as_raw_fd(), pointer.cast(), &mut size))?;
        Ok(match c_int::from(storage.ss_family) {
            libc::AF_INET => {
                let address = &*(pointer as *const libc::sockaddr_in);
                let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(address.sin_port))))
            }
            libc::AF_INET6 => {
                let address = &*(pointer as *const libc::sockaddr_in6);
                let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                Some(SocketAddr::from((ip, u16::from_be(address.sin6_port))))
            }
            _ => None,
        })
    }
}

/// The other side reads the end of the stream; it can still be read from.
pub fn end_writing(socket: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// Closes it so that the other side learns that the stream broke. Without that it would read a proper end.
pub fn reset(socket: OwnedFd) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // One that is not connected any more has nobody to tell.
    let _ = set(&socket, libc::SOL_SOCKET, libc::SO_LINGER, at_once);
}

fn set<Value>(socket: &OwnedFd, level: c_int, option: c_int, value: Value) -> io::Result<()> {
    let size = size_of::<Value>() as socklen_t;
    let value = (&value as *const Value).cast::<c_void>();
    // SAFETY: pointer and size describe `value`.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, size) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Waits until the attempt has come to something.
    fn settled(socket: &OwnedFd) -> io::Result<()> {
        let epoll = sys::Epoll::new()?;
        epoll.add(socket.as_raw_fd(), sys::WRITABLE, 0)?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }];
        assert_eq!(epoll.wait(&mut events, 10_000)?, 1, "nothing happens");
        outcome(socket)
    }

    #[test]
    fn connects_to_both_loopbacks_and_tells_who_is_not_there() {
        for ip in OwnAddresses::new().take(2) {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            settled(&connect(ip, port).unwrap()).unwrap();
            drop(listener);
            let refused = connect(ip, port).and_then(|socket| settled(&socket)).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED), "{}", ip);
        }
    }

    #[test]
    fn a_socket_that_reached_itself_reached_nobody() {
        // SAFETY: the new descriptor is ours alone; the address and its size belong together.
        unsafe {
            let socket = sys::owned(check(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)).unwrap());
            let mut address: libc::sockaddr_in = zeroed();
            address.sin_family = libc::AF_INET as sa_family_t;
            address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
            let size = size_of::<libc::sockaddr_in>() as socklen_t;
            let pointer = (&address as *const libc::sockaddr_in).cast();
            check(libc::bind(socket.as_raw_fd(), pointer, size)).unwrap();
            let port = end(&socket, libc::getsockname).unwrap().unwrap().port();
            address.sin_port = port.to_be();
            connect_to(&socket, &address).unwrap();
            let error = outcome(&socket).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        }
    }

    #[test]
    fn the_loopback_comes_first_and_the_rest_is_neither_that_nor_of_one_link() {
        let addresses: Vec<IpAddr> = OwnAddresses::new().collect();
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        assert_eq!(addresses[..2], loopback);
        assert!(addresses.len() <= 2 + MOST_ADDRESSES);
        assert!(addresses[2..].iter().all(|ip| !ip.is_loopback()), "{:?}", addresses);
    }
}
