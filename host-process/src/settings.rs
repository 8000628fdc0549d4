//! What every such program is told on its command line.

use std::path::PathBuf;
use std::str::FromStr;

#[derive(Default)]
pub struct Common {
    /// Says to whoever asks on the control socket which program with which arguments this is. One word.
    pub identity: String,
    /// A unix socket in a directory that only its owner may enter.
    pub control: PathBuf,
    /// `cgroup.procs` files of the groups to be in from the start.
    pub cgroups: Vec<PathBuf>,
    /// Who it becomes once it has its sockets; undefined leaves it who it is.
    pub user: Option<u32>,
    /// It goes on as the process that was started, for somebody who watches that one: a container's runtime.
    pub stays: bool,
}

impl Common {
    /// Reads a whole command line of options with a value each. `own` takes those that not every program has, and returns false for one that it does not know.
    pub fn parse(
        mut arguments: impl Iterator<Item = String>,
        mut own: impl FnMut(&str, &str) -> Result<bool, String>,
    ) -> Result<Common, String> {
        let mut common = Common::default();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} has no value"))?;
            if !common.take(&name, &value)? && !own(&name, &value)? {
                return Err(format!("{name} is not an option"));
            }
        }
        Ok(common)
    }

    /// Takes an argument that every program has. @returns false for another one
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "--identity" => self.identity = value.to_owned(),
            "--control" => self.control = PathBuf::from(value),
            "--cgroup" => self.cgroups.push(PathBuf::from(value)),
            "--user" => self.user = Some(parsed(name, value)?),
            "--stays" => self.stays = parsed(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether it has all that a program needs.
    pub fn is_whole(&self) -> bool {
        let word = !self.identity.is_empty() && self.identity.bytes().all(|byte| byte.is_ascii_graphic());
        word && self.control.file_name().is_some()
    }
}

pub fn parsed<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value} is no value for {name}"))
}

/// Name and number of `NAME=NUMBER`.
pub fn bound(value: &str) -> Result<(&str, u32), String> {
    let (name, number) = value
        .split_once('=')
        .ok_or_else(|| format!("{value} is not NAME=VALUE"))?;
    Ok((name, parsed(name, number)?))
}
