//! What is said between this program and the one in the sandbox: agent/PROTOCOL.md, "Files".

use super::listing::{Entry, Listing};
use super::target::{set_attribute, set_owner, set_size, set_times, write_at};
use super::MAX_BYTES;
use crate::failure::Failure;
use crate::sys::nanoseconds;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::io::OwnedFd;

const MAX_CHUNK: usize = 256 << 10;
/// Of all of one file.
const MAX_ATTRIBUTES: usize = 1 << 20;
const MAX_VALUE: usize = 64 << 10;

pub struct Wire<In: Read, Out: Write> {
    input: BufReader<In>,
    out: BufWriter<Out>,
}

/// A file with its content, owner and mode.
pub struct Given {
    pub entry: Entry,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    pub file: OwnedFd,
}

impl Given {
    pub fn set_attributes(&self) -> io::Result<()> {
        for (name, value) in &self.attributes {
            set_attribute(&self.file, name, value)?;
        }
        Ok(())
    }

    pub fn set_time(&self) -> io::Result<()> {
        set_times(&self.file, self.entry.modified)
    }
}

/// Says nothing of what it said: nothing of that is to be believed.
pub fn broken() -> Failure {
    Failure::usage("The sandbox's file helper broke the protocol.")
}

impl<In: Read, Out: Write> Wire<In, Out> {
    pub fn new(input: In, out: Out) -> Wire<In, Out> {
        Wire {
            input: BufReader::with_capacity(MAX_CHUNK, input),
            out: BufWriter::new(out),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub fn listing(&mut self) -> Result<Listing, Failure> {
        self.say(b"L")?;
        self.expect(b'T')?;
        let mut listing = Listing::begun(self.time()?);
        loop {
            match self.answer()? {
                b'E' => {
                    let mut entry = self.entry()?;
                    let path = self.text()?;
                    entry.link = self.text()?;
                    listing.add(path, entry)?;
                }
                answer @ (b'M' | b'm') => {
                    let path = self.text()?;
                    listing.cover(path, answer == b'm')?;
                }
                b'.' if listing.entries.is_empty() => return Err(broken()),
                b'.' => return Ok(listing),
                _ => return Err(broken()),
            }
        }
    }

    pub fn stand_still(&mut self) -> Result<(), Failure> {
        self.say(b"S")?;
        self.expect(b's')
    }

    pub fn go_on(&mut self) -> Result<(), Failure> {
        self.say(b"C")?;
        match self.answer()? {
            b'k' => Ok(()),
            b'x' => Err(Failure::refused(
                "The programs of the sandbox could not be held up for as long as the copy took.".into(),
            )),
            _ => Err(broken()),
        }
    }

    pub fn ask(&mut self, path: &[u8]) -> Result<(), Failure> {
        let length = u16::try_from(path.len()).map_err(|_| broken())?;
        self.out.write_all(b"G")?;
        self.out.write_all(&length.to_le_bytes())?;
        Ok(self.out.write_all(path)?)
    }

    /// What was asked for, in a file that `open` gives. @returns nothing when it is not there any more
    pub fn given(
        &mut self,
        path: &[u8],
        listed: &Entry,
        open: impl FnOnce(&Entry) -> io::Result<OwnedFd>,
    ) -> Result<Option<Given>, Failure> {
        match self.answer()? {
            b'g' => return Ok(None),
            b'F' => {}
            _ => return Err(broken()),
        }
        let entry = self.entry()?;
        let attributes = self.attributes()?;
        // What became something else meanwhile is looked at again in the next pass.
        let is_same = entry.kind() == listed.kind();
        let at = super::said(path);
        let file = match is_same {
            true => Some(open(&entry).map_err(&at)?),
            false => None,
        };
        match entry.kind() {
            libc::S_IFREG => self.content(file.as_ref(), &at)?,
            libc::S_IFDIR => {}
            _ => return Err(broken()),
        }
        let Some(file) = file else { return Ok(None) };
        // Last: to write takes capabilities away.
        set_owner(&file, entry.uid, entry.gid, entry.mode).map_err(&at)?;
        Ok(Some(Given {
            entry,
            attributes,
            file,
        }))
    }

    fn attributes(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Failure> {
        let count = self.number()?;
        let mut attributes = Vec::new();
        let mut bytes = 0;
        for _ in 0..count {
            let (name, value) = (self.text()?, self.bytes(MAX_VALUE)?);
            bytes += name.len() + value.len() + 1;
            if bytes > MAX_ATTRIBUTES {
                return Err(broken());
            }
            attributes.push((name, value));
        }
        Ok(attributes)
    }

    /// @param file where it goes; nowhere when it is of something else by now
    fn content(&mut self, file: Option<&OwnedFd>, at: &impl Fn(io::Error) -> Failure) -> Result<(), Failure> {
        loop {
            match self.answer()? {
                b'c' => {
                    let offset = self.long()?;
                    let data = self.bytes(MAX_CHUNK)?;
                    if offset > MAX_BYTES {
                        return Err(broken());
                    }
                    if let Some(file) = file {
                        write_at(file, &data, offset).map_err(at)?;
                    }
                }
                b'z' => {
                    let size = self.long()?;
                    if size > MAX_BYTES {
                        return Err(broken());
                    }
                    return match file {
                        Some(file) => set_size(file, size).map_err(at),
                        None => Ok(()),
                    };
                }
                _ => return Err(broken()),
            }
        }
    }

    pub fn send(&mut self, part: &[u8]) -> io::Result<()> {
        self.out.write_all(part)
    }

    pub fn send_text(&mut self, text: &[u8]) -> io::Result<()> {
        let length = u16::try_from(text.len()).map_err(|_| io::Error::from_raw_os_error(libc::ENAMETOOLONG))?;
        self.send(&length.to_le_bytes())?;
        self.send(text)
    }

    /// Nanoseconds after 1970.
    pub fn send_time(&mut self, time: i128) -> io::Result<()> {
        const SECOND: i128 = 1_000_000_000;
        self.send(&(time.div_euclid(SECOND) as i64).to_le_bytes())?;
        self.send(&(time.rem_euclid(SECOND) as u32).to_le_bytes())
    }

    /// What is there once a request to put something there was done; nothing where it was not.
    pub fn put(&mut self) -> Result<Option<Entry>, Failure> {
        Ok(match self.is_done()? {
            true => Some(self.entry()?),
            false => None,
        })
    }

    pub fn is_done(&mut self) -> Result<bool, Failure> {
        match self.answer()? {
            b'k' => Ok(true),
            b'n' => Ok(false),
            _ => Err(broken()),
        }
    }

    fn say(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.out.write_all(request)?;
        Ok(self.out.flush()?)
    }

    fn expect(&mut self, answer: u8) -> Result<(), Failure> {
        if self.answer()? == answer {
            Ok(())
        } else {
            Err(broken())
        }
    }

    fn answer(&mut self) -> Result<u8, Failure> {
        let [answer] = self.array()?;
        if answer != b'X' {
            return Ok(answer);
        }
        let code = self.number()? as i32;
        let error = io::Error::from_raw_os_error(code);
        Err(match code {
            // The machine that has no room there is not this one.
            libc::ENOSPC | libc::EDQUOT | 0 => {
                Failure::refused(format!("The sandbox's files cannot be read or written: {error}"))
            }
            _ => Failure::of_path("The sandbox's files cannot be read or written", error),
        })
    }

    fn entry(&mut self) -> Result<Entry, Failure> {
        let (mode, uid, gid) = (self.number()?, self.number()?, self.number()?);
        let (links, size, device) = (self.long()?, self.long()?, self.long()?);
        let (on, inode) = (self.long()?, self.long()?);
        let (modified, changed) = (self.time()?, self.time()?);
        // That id means "as it is".
        if uid == u32::MAX || gid == u32::MAX {
            return Err(broken());
        }
        let link = Vec::new();
        Ok(Entry {
            mode,
            uid,
            gid,
            links,
            size,
            device,
            modified,
            changed,
            link,
            on,
            inode,
        })
    }

    fn time(&mut self) -> Result<i128, Failure> {
        let seconds = self.long()? as i64;
        let rest = self.number()?;
        if rest >= 1_000_000_000 {
            return Err(broken());
        }
        Ok(nanoseconds(seconds, i64::from(rest)))
    }

    fn text(&mut self) -> Result<Vec<u8>, Failure> {
        let length = u16::from_le_bytes(self.array()?);
        self.exactly(usize::from(length))
    }

    fn bytes(&mut self, most: usize) -> Result<Vec<u8>, Failure> {
        let length = self.number()? as usize;
        if length > most {
            return Err(broken());
        }
        self.exactly(length)
    }

    fn number(&mut self) -> Result<u32, Failure> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<u64, Failure> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0u8; length];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Failure> {
        let mut bytes = [0u8; LENGTH];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        // It ended before it said all.
        self.input.read_exact(bytes).map_err(|_| broken())
    }
}
