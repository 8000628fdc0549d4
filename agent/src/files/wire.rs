//! What is said to the server, little-endian: PROTOCOL.md, "Files".

use std::io::{self, BufWriter, Stdout, Write};

pub struct Wire {
    out: BufWriter<Stdout>,
}

impl Wire {
    pub fn new() -> Wire {
        Wire {
            out: BufWriter::with_capacity(256 << 10, io::stdout()),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn byte(&mut self, byte: u8) -> io::Result<()> {
        self.out.write_all(&[byte])
    }

    pub fn entry(&mut self, path: &[u8], stat: &libc::stat, link: &[u8]) -> io::Result<()> {
        self.byte(b'E')?;
        self.stat(stat)?;
        self.text(path)?;
        self.text(link)
    }

    pub fn covered(&mut self, path: &[u8], by_directory: bool) -> io::Result<()> {
        self.byte(if by_directory { b'm' } else { b'M' })?;
        self.text(path)
    }

    pub fn failure(&mut self, error: &io::Error) -> io::Result<()> {
        self.byte(b'X')?;
        self.number(error.raw_os_error().unwrap_or(0) as u32)?;
        self.flush()
    }

    pub fn stat(&mut self, stat: &libc::stat) -> io::Result<()> {
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            self.number(number)?;
        }
        for long in [
            stat.st_nlink,
            stat.st_size as u64,
            stat.st_rdev,
            stat.st_dev,
            stat.st_ino,
        ] {
            self.long(long)?;
        }
        self.time(stat.st_mtime, stat.st_mtime_nsec)?;
        self.time(stat.st_ctime, stat.st_ctime_nsec)
    }

    pub fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(&(bytes.len() as u16).to_le_bytes())?;
        self.out.write_all(bytes)
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number(bytes.len() as u32)?;
        self.out.write_all(bytes)
    }

    pub fn number(&mut self, number: u32) -> io::Result<()> {
        self.out.write_all(&number.to_le_bytes())
    }

    pub fn long(&mut self, number: u64) -> io::Result<()> {
        self.out.write_all(&number.to_le_bytes())
    }

    pub fn time(&mut self, seconds: i64, nanoseconds: i64) -> io::Result<()> {
        self.long(seconds as u64)?;
        self.number(nanoseconds as u32)
    }
}
