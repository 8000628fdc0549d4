//! The kernel's table of connections (`nf_conntrack`), by netlink: <linux/netfilter/nfnetlink_conntrack.h>.

use crate::message::{attribute, message, messages, nesting, part, with};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd};

/// What was asked of the kernel, and its answer.
pub struct Error(pub &'static str, pub io::Error);

const GET: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 1;
const DELETE: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8 | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Of the flags of a filter: it is the source that must be equal.
const BY_SOURCE: u32 = 1;

/// Before the attributes: family, version, number of a resource.
const GENERIC: [u8; 4] = [libc::AF_INET as u8, libc::NFNETLINK_V0 as u8, 0, 0];
/// The kernel sends no more than this at once.
const RECEIVED_BYTES: usize = 1 << 16;
/// It answers at once, or something is wrong with it.
const PATIENCE: libc::timeval = libc::timeval { tv_sec: 20, tv_usec: 0 };

/// What names an entry: its attributes, as the kernel gave them.
type Name = Vec<u8>;

/// Removes all connections that this address opened. @returns how many there were
pub fn forget(address: Ipv4Addr) -> Result<usize, Error> {
    let socket = open().map_err(|error| Error("netlink", error))?;
    let names = list(&socket, address).map_err(|error| Error("listing connections", error))?;
    for (index, name) in names.iter().enumerate() {
        let number = index as u32 + 2;
        match delete(&socket, number, name) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // it ended meanwhile
            other => other.map_err(|error| Error("removing a connection", error))?,
        }
    }
    Ok(names.len())
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the descriptor is nobody else's.
    let socket = unsafe {
        let fd = libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_NETFILTER,
        );
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let size = std::mem::size_of_val(&PATIENCE) as libc::socklen_t;
    // SAFETY: the structure outlives the call, which is told its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&PATIENCE as *const libc::timeval).cast(),
            size,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// A kernel that knows the filter (5.8) sends these alone, an older one everybody's.
fn list(socket: &OwnedFd, address: Ipv4Addr) -> io::Result<Vec<Name>> {
    let source = nesting(CTA_TUPLE_IP, &with(CTA_IP_V4_SRC, &address.octets()));
    let flags = [
        with(CTA_FILTER_ORIG_FLAGS, &BY_SOURCE.to_ne_bytes()),
        with(CTA_FILTER_REPLY_FLAGS, &0u32.to_ne_bytes()),
    ]
    .concat();
    let body = [
        GENERIC.to_vec(),
        nesting(CTA_TUPLE_ORIG, &source),
        nesting(CTA_FILTER, &flags),
    ]
    .concat();
    send(socket, &message(GET, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16, 1, &body))?;
    let mut names = Vec::new();
    receive(socket, 1, |entry| {
        if source_of(entry) == Some(address) {
            names.extend(name_of(entry));
        }
    })?;
    Ok(names)
}

fn source_of(entry: &[u8]) -> Option<Ipv4Addr> {
    let ip = attribute(attribute(entry, CTA_TUPLE_ORIG)?, CTA_TUPLE_IP)?;
    part::<4>(attribute(ip, CTA_IP_V4_SRC)?, 0).map(Ipv4Addr::from)
}

fn name_of(entry: &[u8]) -> Option<Name> {
    let mut name = nesting(CTA_TUPLE_ORIG, attribute(entry, CTA_TUPLE_ORIG)?);
    name.extend(with(CTA_ID, attribute(entry, CTA_ID)?)); // another one with the same addresses is not meant
    if let Some(zone) = attribute(entry, CTA_ZONE) {
        name.extend(with(CTA_ZONE, zone));
    }
    Some(name)
}

fn delete(socket: &OwnedFd, number: u32, name: &[u8]) -> io::Result<()> {
    let body = [&GENERIC, name].concat();
    send(socket, &message(DELETE, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16, number, &body))?;
    receive(socket, number, |_| {})
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the bytes outlive the call, which is told how many they are; without an address it is for the kernel.
    match unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Gives the attributes of each entry that answers the message of this number, until the last one or an error.
fn receive(socket: &OwnedFd, number: u32, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0u8; RECEIVED_BYTES];
    loop {
        // SAFETY: the buffer outlives the call, which is told its length.
        let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if length == -1 {
            return Err(io::Error::last_os_error());
        }
        for answer in messages(&buffer[..length as usize]).filter(|answer| answer.number == number) {
            match i32::from(answer.kind) {
                libc::NLMSG_DONE | libc::NLMSG_ERROR => return ending(answer.body),
                _ => each(answer.body.get(GENERIC.len()..).unwrap_or(&[])),
            }
        }
    }
}

/// The number of an error, negative, or 0.
fn ending(body: &[u8]) -> io::Result<()> {
    match part(body, 0).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
    }
}
