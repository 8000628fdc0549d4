//! What changed here goes to the sandbox.

use super::state::{Both, Mark, State};
use super::UNFINISHED;
use crate::entry::{kind, names};
use crate::failure::Failure;
use crate::sys::{c_string, check, fstat, fstatat, literal, nanoseconds, openat};
use crate::take::wire::Wire;
use crate::take::{said, AHEAD};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, OsStr};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
const CHUNK: usize = 64 << 10;

pub fn deliver<In: Read, Out: Write>(directory: &OsStr, state: &mut State, wire: Wire<In, Out>) -> Result<(), Failure> {
    let at = Failure::at("directory");
    let root = openat(libc::AT_FDCWD, &c_string(directory.as_bytes())?, DIRECTORY, 0).map_err(&at)?;
    let mut found = BTreeMap::from([(Vec::new(), fstat(root.as_raw_fd()).map_err(&at)?)]);
    list(root.as_raw_fd(), &mut Vec::new(), &mut found).map_err(&at)?;
    let mut deliverer = Deliverer {
        state,
        wire,
        asked: VecDeque::new(),
    };
    deliverer.remove(&found)?;
    deliverer.directory(&root, &mut Vec::new(), &found)?;
    deliverer.hear_all()
}

fn list(directory: RawFd, path: &mut Vec<u8>, found: &mut BTreeMap<Vec<u8>, libc::stat>) -> io::Result<()> {
    let length = path.len();
    for name in names(directory)? {
        path.extend_from_slice(name.to_bytes());
        let stat = fstatat(directory, &name, 0)?;
        let is_one = matches!(kind(&stat), libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK);
        if is_one && path != UNFINISHED {
            found.insert(path.clone(), stat);
            if kind(&stat) == libc::S_IFDIR {
                let inner = openat(directory, &name, DIRECTORY, 0)?;
                path.push(b'/');
                list(inner.as_raw_fd(), path, found)?;
            }
        }
        path.truncate(length);
    }
    Ok(())
}

enum Asked {
    Put(Vec<u8>, Mark),
    Remove,
}

struct Deliverer<'a, In: Read, Out: Write> {
    state: &'a mut State,
    wire: Wire<In, Out>,
    /// What was not answered yet.
    asked: VecDeque<Asked>,
}

impl<In: Read, Out: Write> Deliverer<'_, In, Out> {
    /// What is not here any more, or something else. Whatever is left of it there counts as the sandbox's own from now on.
    fn remove(&mut self, found: &BTreeMap<Vec<u8>, libc::stat>) -> Result<(), Failure> {
        let is_gone = |(path, both): &(&Vec<u8>, &Both)| {
            let stays = found.get(*path).map(|stat| kind(stat) == libc::S_IFDIR);
            stays != Some(both.there.is_directory())
        };
        let gone: Vec<_> = self
            .state
            .entries
            .iter()
            .rev()
            .filter(is_gone)
            .map(|(path, both)| (path.clone(), both.there))
            .collect();
        for (path, there) in gone {
            self.state.entries.remove(&path);
            self.ask(Asked::Remove)?;
            self.wire.send(b"R")?;
            self.wire.send_text(&path)?;
            match there.is_directory() {
                true => self.wire.send(&[2])?,
                false => self.expect(Some(&there))?,
            }
        }
        self.hear_all()
    }

    /// @param path with a slash at its end unless it is the top
    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &mut Vec<u8>,
        found: &BTreeMap<Vec<u8>, libc::stat>,
    ) -> Result<(), Failure> {
        let length = path.len();
        if path.is_empty() {
            self.put(directory.as_raw_fd(), literal(b".\0"), path, found)?;
        }
        let mut inside = names(directory.as_raw_fd())?;
        inside.sort_unstable();
        for name in inside {
            path.extend_from_slice(name.to_bytes());
            self.put(directory.as_raw_fd(), &name, path, found)?;
            if found
                .get(path.as_slice())
                .map_or(false, |stat| kind(stat) == libc::S_IFDIR)
            {
                let inner = openat(directory.as_raw_fd(), &name, DIRECTORY, 0)?;
                path.push(b'/');
                self.directory(&inner, path, found)?;
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn put(
        &mut self,
        directory: RawFd,
        name: &CStr,
        path: &[u8],
        found: &BTreeMap<Vec<u8>, libc::stat>,
    ) -> Result<(), Failure> {
        let Some(stat) = found.get(path) else { return Ok(()) };
        let here = Mark::of_stat(stat);
        let known = self.state.entries.get(path).copied();
        if known.map_or(false, |known| known.here.is_same(&here)) {
            return Ok(());
        }
        self.ask(Asked::Put(path.to_vec(), here))?;
        self.wire.send(match kind(stat) {
            libc::S_IFDIR => b"D",
            libc::S_IFLNK => b"K",
            _ => b"F",
        })?;
        self.wire.send_text(path)?;
        if !here.is_directory() {
            self.expect(known.map(|known| known.there).as_ref())?;
        }
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            self.wire.send(&number.to_le_bytes())?;
        }
        if here.is_directory() {
            return Ok(());
        }
        self.wire.send_time(nanoseconds(stat.st_mtime, stat.st_mtime_nsec))?;
        let at = said(path);
        if kind(stat) == libc::S_IFLNK {
            let link = link(directory, name, stat).map_err(&at)?;
            return Ok(self.wire.send_text(&link)?);
        }
        let file = openat(directory, name, libc::O_RDONLY | libc::O_NOFOLLOW, 0).map_err(&at)?;
        self.content(&file).map_err(&at)
    }

    fn content(&mut self, file: &OwnedFd) -> io::Result<()> {
        let mut buffer = vec![0u8; CHUNK];
        let mut at = 0;
        loop {
            // SAFETY: the descriptor is open.
            let data = unsafe { libc::lseek(file.as_raw_fd(), at, libc::SEEK_DATA) };
            match data {
                0.. => at = data,
                _ if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => break, // holes to the end
                _ => {}
            }
            // SAFETY: the buffer's length is told.
            let read = unsafe { libc::pread(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), at) };
            let read = check(read as i32)? as usize;
            if read == 0 {
                break;
            }
            if buffer[..read].iter().any(|byte| *byte != 0) {
                self.wire.send(b"c")?;
                self.wire.send(&(at as u64).to_le_bytes())?;
                self.wire.send(&(read as u32).to_le_bytes())?;
                self.wire.send(&buffer[..read])?;
            }
            at += read as i64;
        }
        self.wire.send(b"z")?;
        self.wire.send(&(fstat(file.as_raw_fd())?.st_size as u64).to_le_bytes())
    }

    fn expect(&mut self, there: Option<&Mark>) -> io::Result<()> {
        let Some(there) = there else {
            return self.wire.send(&[0]);
        };
        self.wire.send(&[1])?;
        self.wire.send(&there.inode.to_le_bytes())?;
        self.wire.send_time(i128::from(there.changed))
    }

    /// Not more at once than answers have room for on their way.
    fn ask(&mut self, asked: Asked) -> Result<(), Failure> {
        if self.asked.len() == AHEAD {
            self.hear()?;
        }
        self.asked.push_back(asked);
        Ok(())
    }

    fn hear_all(&mut self) -> Result<(), Failure> {
        while !self.asked.is_empty() {
            self.hear()?;
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<(), Failure> {
        self.wire.flush()?;
        match self.asked.pop_front() {
            None => {}
            Some(Asked::Remove) => drop(self.wire.is_done()?),
            Some(Asked::Put(path, here)) => {
                if let Some(entry) = self.wire.put()? {
                    let there = Mark::of_entry(&entry);
                    self.state.entries.insert(path, Both { there, here });
                }
            }
        }
        Ok(())
    }
}

fn link(directory: RawFd, name: &CStr, stat: &libc::stat) -> io::Result<Vec<u8>> {
    let mut link = vec![0u8; stat.st_size.max(0) as usize + 1];
    // SAFETY: the buffer's length is told, and the name outlives the call.
    let length = unsafe { libc::readlinkat(directory, name.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    link.truncate(check(length as i32)? as usize);
    Ok(link)
}
