//! The two sockets that questions come to, and how they go from one process to the next.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub struct Sockets {
    pub udp: UdpSocket,
    pub tcp: TcpListener,
}

const COUNT: usize = 2;
const PAYLOAD: usize = COUNT * mem::size_of::<RawFd>();
/// Room for one control message with the descriptors, cmsg(3), aligned as its header.
type Control = [u64; 8];

impl Sockets {
    pub fn bind(address: SocketAddr) -> io::Result<Sockets> {
        Sockets::new(UdpSocket::bind(address)?, TcpListener::bind(address)?)
    }

    fn new(udp: UdpSocket, tcp: TcpListener) -> io::Result<Sockets> {
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Sockets { udp, tcp })
    }

    pub fn try_clone(&self) -> io::Result<Sockets> {
        Ok(Sockets {
            udp: self.udp.try_clone()?,
            tcp: self.tcp.try_clone()?,
        })
    }

    /// Sends both, with one byte, over a unix socket.
    pub fn send(&self, stream: RawFd) -> io::Result<()> {
        let descriptors: [RawFd; COUNT] = [self.udp.as_raw_fd(), self.tcp.as_raw_fd()];
        let mut byte = [b's'];
        let mut part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut control: Control = [0; 8];
        let mut message = message(&mut part, &mut control);
        // SAFETY: the message and all it points to outlive the calls, and `control` has room for the header and the descriptors.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(PAYLOAD as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(PAYLOAD as u32) as _;
            ptr::copy_nonoverlapping(descriptors.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), PAYLOAD);
            if libc::sendmsg(stream, &message, libc::MSG_NOSIGNAL) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// What `send` sent at the other end. @errors when it is not that, or they listen on another address
    pub fn receive(stream: RawFd, address: SocketAddr) -> io::Result<Sockets> {
        let mut byte = [0];
        let mut part = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut control: Control = [0; 8];
        let mut message = message(&mut part, &mut control);
        // SAFETY: as in `send`; the descriptors that come are opened for this process and owned by nobody yet.
        let [udp, tcp] = unsafe {
            if libc::recvmsg(stream, &mut message, libc::MSG_CMSG_CLOEXEC) < 0 {
                return Err(io::Error::last_os_error());
            }
            let header = libc::CMSG_FIRSTHDR(&message);
            if header.is_null()
                || (*header).cmsg_type != libc::SCM_RIGHTS
                || (*header).cmsg_len as usize != libc::CMSG_LEN(PAYLOAD as u32) as usize
            {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut descriptors: [RawFd; COUNT] = [0; COUNT];
            ptr::copy_nonoverlapping(libc::CMSG_DATA(header), descriptors.as_mut_ptr().cast::<u8>(), PAYLOAD);
            descriptors.map(|descriptor| OwnedFd::from_raw_fd(descriptor))
        };
        let (udp, tcp) = (UdpSocket::from(udp), TcpListener::from(tcp));
        if udp.local_addr()? != address || tcp.local_addr()? != address {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Sockets::new(udp, tcp)
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
