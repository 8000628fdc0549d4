//! Users and groups, looked up in the sandbox's own /etc/passwd and /etc/group. These files are written by untrusted code: only
//! regular files of bounded size are read.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

const FILE_BOUND: u64 = 4 << 20;
/// The kernel's own bound is 65536; nobody real comes near.
const GROUPS_BOUND: usize = 1024;

#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum UserError {
    UnknownUser(String),
    UnknownGroup(String),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            UserError::UnknownUser(name) => write!(f, "user '{}' is not in the sandbox's /etc/passwd", name),
            UserError::UnknownGroup(name) => write!(f, "group '{}' is not in the sandbox's /etc/group", name),
        }
    }
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    // A FIFO in its place must not hold us up.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    if let Ok(file) = file {
        if let Some(length) = file
            .metadata()
            .ok()
            .filter(|meta| meta.is_file())
            .map(|meta| meta.len())
        {
            // One read has all of it, and the next tells the end.
            bytes.reserve(length.min(FILE_BOUND) as usize + 1);
            let _ = file.take(FILE_BOUND).read_to_end(&mut bytes);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The groups that the runtime gave this process beside its own: every program is to be in them, since they own devices of the sandbox.
fn own_groups() -> Vec<u32> {
    let mut groups = vec![0; GROUPS_BOUND];
    // SAFETY: pointer and length describe `groups`, which the kernel fills or leaves as it is.
    let count = unsafe { libc::getgroups(GROUPS_BOUND as libc::c_int, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups
}

/// Root's own group is nobody's to be given.
fn with_given(mut identity: Identity, given: Vec<u32>) -> Identity {
    for gid in given {
        if gid != 0 && !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    identity
}

/// Home directory of uid 0, for the common case that needs nothing else.
pub fn root_home() -> Option<String> {
    home_of(&text("/etc/passwd"), 0)
}

/// Resolves `name|uid[:group|gid]`.
pub fn resolve(spec: &str) -> Result<Identity, UserError> {
    let identity = resolve_in(spec, &text("/etc/passwd"), &text("/etc/group"))?;
    Ok(with_given(identity, own_groups()))
}

/// A user's or group's name, for showing; the number when it has none.
pub struct Names(String);

impl Names {
    pub fn users() -> Names {
        Names(text("/etc/passwd"))
    }

    pub fn groups() -> Names {
        Names(text("/etc/group"))
    }

    pub fn of(&self, id: u32) -> String {
        let found = rows(&self.0).find(|row| row.get(2).and_then(|field| field.parse().ok()) == Some(id));
        found.map_or_else(|| id.to_string(), |row| row[0].to_string())
    }
}

fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|row| !row[0].is_empty())
}

fn number(row: &[&str], column: usize) -> Option<u32> {
    row.get(column)?.parse().ok()
}

fn home_of(passwd: &str, uid: u32) -> Option<String> {
    let row = rows(passwd).find(|row| number(row, 2) == Some(uid))?;
    row.get(5).filter(|home| !home.is_empty()).map(|home| home.to_string())
}

fn resolve_in(spec: &str, passwd: &str, group: &str) -> Result<Identity, UserError> {
    let mut parts = spec.splitn(2, ':');
    let user = parts.next().filter(|name| !name.is_empty()).unwrap_or("0");
    let wanted_group = parts.next().filter(|name| !name.is_empty());

    let by_name = rows(passwd).find(|row| row[0] == user && number(row, 2).is_some());
    let row = by_name.or_else(|| {
        let uid: u32 = user.parse().ok()?;
        rows(passwd).find(|row| number(row, 2) == Some(uid))
    });
    let (name, uid, own_gid) = match &row {
        Some(row) => (row[0], number(row, 2).unwrap_or(0), number(row, 3).unwrap_or(0)),
        // An unknown number is a user of that number in group 0, as in Docker. u32::MAX means "no change" to the kernel.
        None => match user.parse() {
            Ok(uid) if uid != u32::MAX => ("", uid, 0),
            _ => return Err(UserError::UnknownUser(user.chars().take(256).collect())),
        },
    };
    let home = home_of(passwd, uid);
    if let Some(wanted) = wanted_group {
        let named = rows(group).find(|row| row[0] == wanted).and_then(|row| number(&row, 2));
        let gid = match named.or_else(|| wanted.parse().ok()) {
            Some(gid) if gid != u32::MAX => gid,
            _ => return Err(UserError::UnknownGroup(wanted.chars().take(256).collect())),
        };
        return Ok(Identity {
            uid,
            gid,
            groups: vec![gid],
            home,
        });
    }
    let mut groups = vec![own_gid];
    if !name.is_empty() {
        for row in rows(group) {
            let member = row
                .get(3)
                .is_some_and(|members| members.split(',').any(|member| member == name));
            match number(&row, 2) {
                Some(gid) if member && !groups.contains(&gid) && groups.len() < GROUPS_BOUND => groups.push(gid),
                _ => {}
            }
        }
    }
    Ok(Identity {
        uid,
        gid: own_gid,
        groups,
        home,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n\nbroken\nann:x:1000:1001::/home/ann:/bin/sh\n7:x:70:70::/seven:\n";
    const GROUP: &str = "root:x:0:\nann:x:1001:\nwheel:x:10:bob,ann\naudio:x:11:annie\nx\n";

    fn resolved(spec: &str) -> Result<(u32, u32, Vec<u32>, Option<String>), UserError> {
        resolve_in(spec, PASSWD, GROUP).map(|id| (id.uid, id.gid, id.groups, id.home))
    }

    #[test]
    fn resolves_names_and_numbers() {
        let home = |path: &str| Some(path.to_string());
        assert_eq!(resolved("ann"), Ok((1000, 1001, vec![1001, 10], home("/home/ann"))));
        assert_eq!(resolved("1000"), Ok((1000, 1001, vec![1001, 10], home("/home/ann"))));
        assert_eq!(resolved("ann:audio"), Ok((1000, 11, vec![11], home("/home/ann"))));
        assert_eq!(resolved("ann:5"), Ok((1000, 5, vec![5], home("/home/ann"))));
        assert_eq!(resolved("12345"), Ok((12345, 0, vec![0], None)));
        assert_eq!(
            resolved("7"),
            Ok((70, 70, vec![70], home("/seven"))),
            "a name goes before a number"
        );
        assert_eq!(resolved(":wheel"), Ok((0, 10, vec![10], home("/root"))));
    }

    #[test]
    fn adds_the_groups_it_was_given_but_never_roots() {
        let ann = resolve_in("ann", PASSWD, GROUP).map(|ann| with_given(ann, vec![0, 10, 44]).groups);
        assert_eq!(ann, Ok(vec![1001, 10, 44]));
    }

    #[test]
    fn refuses_what_is_nobody() {
        assert_eq!(resolved("bob"), Err(UserError::UnknownUser("bob".into())));
        assert_eq!(resolved("-1"), Err(UserError::UnknownUser("-1".into())));
        assert_eq!(resolved("4294967295"), Err(UserError::UnknownUser("4294967295".into())));
        assert_eq!(resolved("ann:nope"), Err(UserError::UnknownGroup("nope".into())));
        assert!(resolve_in("ann", "ann:x:oops", "").is_err());
    }
}
