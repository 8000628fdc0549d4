//! What the server says, little-endian: PROTOCOL.md, "Files".

use std::io::{self, BufReader, Read};

/// Of content, at once.
const MAX_CHUNK: usize = 256 << 10;

pub struct Requests<In: Read> {
    input: BufReader<In>,
}

impl<In: Read> Requests<In> {
    pub fn new(input: In) -> Requests<In> {
        Requests {
            input: BufReader::with_capacity(MAX_CHUNK, input),
        }
    }

    /// None at the end.
    pub fn next(&mut self) -> io::Result<Option<u8>> {
        let mut request = [0u8];
        Ok((self.input.read(&mut request)? > 0).then_some(request[0]))
    }

    pub fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn text(&mut self) -> io::Result<Vec<u8>> {
        let length = u16::from_le_bytes(self.array()?);
        self.exactly(usize::from(length))
    }

    pub fn number(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn long(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn time(&mut self) -> io::Result<libc::timespec> {
        Ok(libc::timespec {
            tv_sec: self.long()? as i64,
            tv_nsec: i64::from(self.number()?),
        })
    }

    pub fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let length = self.number()? as usize;
        if length > MAX_CHUNK {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.exactly(length)
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0u8; length];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0u8; LENGTH];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
