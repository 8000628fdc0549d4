//! The sockets that sandboxes reach, and how they go from one process to the next.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::Error;

pub struct Sockets {
    pub udp: UdpSocket,
    /// In the order of the addresses they were bound to.
    pub tcp: Vec<TcpListener>,
}

/// More than any program has.
const MAX_SOCKETS: usize = 8;
/// Room for one control message with the descriptors, cmsg(3), aligned as its header.
type Control = [u64; 8];

const fn payload(count: usize) -> usize {
    count * mem::size_of::<RawFd>()
}

impl Sockets {
    pub fn bind(udp: SocketAddr, tcp: &[SocketAddr]) -> Result<Sockets, Error> {
        let socket = UdpSocket::bind(udp).map_err(|error| Error::Listen(udp, error))?;
        let listeners: Result<Vec<TcpListener>, Error> = tcp
            .iter()
            .map(|&address| TcpListener::bind(address).map_err(|error| Error::Listen(address, error)))
            .collect();
        Sockets::new(socket, listeners?).map_err(|error| Error::Listen(udp, error))
    }

    fn new(udp: UdpSocket, tcp: Vec<TcpListener>) -> io::Result<Sockets> {
        udp.set_nonblocking(true)?;
        for listener in &tcp {
            listener.set_nonblocking(true)?;
        }
        Ok(Sockets { udp, tcp })
    }

    pub fn try_clone(&self) -> io::Result<Sockets> {
        Ok(Sockets {
            udp: self.udp.try_clone()?,
            tcp: self.tcp.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?,
        })
    }

    /// Sends all, with one byte, over a unix socket.
    pub fn send(&self, stream: RawFd) -> io::Result<()> {
        let mut descriptors = vec![self.udp.as_raw_fd()];
        descriptors.extend(self.tcp.iter().map(TcpListener::as_raw_fd));
        debug_assert!(descriptors.len() <= MAX_SOCKETS);
        let length = payload(descriptors.len());
        let mut byte = [b's'];
        let mut part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut control: Control = [0; 8];
        let mut message = message(&mut part, &mut control);
        // SAFETY: the message and all it points to outlive the calls, and `control` has room for the header and `MAX_SOCKETS` descriptors.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length as u32) as _;
            ptr::copy_nonoverlapping(descriptors.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), length);
            if libc::sendmsg(stream, &message, libc::MSG_NOSIGNAL) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// What `send` sent at the other end. @errors when it is not that, or they listen on other addresses
    pub fn receive(stream: RawFd, udp: SocketAddr, tcp: &[SocketAddr]) -> io::Result<Sockets> {
        let count = 1 + tcp.len();
        let mut byte = [0];
        let mut part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut control: Control = [0; 8];
        let mut message = message(&mut part, &mut control);
        // SAFETY: as in `send`; the descriptors that come are opened for this process and owned by nobody yet.
        let descriptors = unsafe {
            if libc::recvmsg(stream, &mut message, libc::MSG_CMSG_CLOEXEC) < 0 {
                return Err(io::Error::last_os_error());
            }
            let header = libc::CMSG_FIRSTHDR(&message);
            if header.is_null()
                || (*header).cmsg_type != libc::SCM_RIGHTS
                || (*header).cmsg_len as usize != libc::CMSG_LEN(payload(count) as u32) as usize
            {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut raw: Vec<RawFd> = vec![0; count];
            ptr::copy_nonoverlapping(libc::CMSG_DATA(header), raw.as_mut_ptr().cast::<u8>(), payload(count));
            raw.into_iter()
                .map(|descriptor| OwnedFd::from_raw_fd(descriptor))
                .collect::<Vec<_>>()
        };
        let mut descriptors = descriptors.into_iter();
        let Some(first) = descriptors.next() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let socket = UdpSocket::from(first);
        let listeners: Vec<TcpListener> = descriptors.map(TcpListener::from).collect();
        if socket.local_addr()? != udp {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        for (listener, &address) in listeners.iter().zip(tcp) {
            if listener.local_addr()? != address {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
        }
        Sockets::new(socket, listeners)
    }
}

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of::<Control>() as _;
    message
}
