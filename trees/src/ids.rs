//! Ids of a sandbox's own. Its programs are in a user namespace whose ids 0 to 65535 are other ones for the machine, so that nothing that the kernel counts for each
//! user is shared with anybody. On disk everything is owned by 0 to 65535: what a sandbox sees is mounted so that one stands for the other, mount_setattr(2).

use crate::child;
use crate::failure::Failure;
use crate::sys::{bind, c_string, check, clone_tree, literal, map_ids, move_mount, open};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::{AsRawFd, OwnedFd};

/// How many ids a sandbox has.
const COUNT: u32 = 65536;
/// Capabilities stay when the user is another, capabilities(7).
const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;

/// Makes a user namespace whose ids are `first` and those after it on the machine, and a network namespace that belongs to it. Both last as long as they are
/// mounted at these paths, which must be free.
pub fn make_namespaces(first: &OsStr, user: &OsStr, network: &OsStr) -> Result<(), Failure> {
    let first = first_id(first)?;
    child::beside(|| become_another(first), |child| hold(child, first, user, network))
}

/// That of a sandbox, as an argument.
pub fn first_id(text: &OsStr) -> Result<u32, Failure> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .filter(|first| *first >= COUNT)
        .ok_or_else(|| Failure::usage("the first id is a number above 65535"))
}

/// The namespaces are those of a user of their own: what is counted for all programs in one is counted for the user that made it too.
fn become_another(first: u32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        check(libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))?;
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(first, first, first))?;
        check(libc::setresuid(first, first, first))?;
        check(libc::unshare(libc::CLONE_NEWUSER))?;
        check(libc::unshare(libc::CLONE_NEWNET))?;
    }
    Ok(())
}

fn hold(child: libc::pid_t, first: u32, user: &OsStr, network: &OsStr) -> Result<(), Failure> {
    write_maps(child, &format!("0 {first} {COUNT}\n"))?;
    for (kind, path) in [("user", user), ("net", network)] {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Failure::at(kind))?;
        let from = c_string(format!("/proc/{child}/ns/{kind}").as_bytes())?;
        bind(&from, &c_string(path.as_bytes())?).map_err(Failure::at(kind))?;
    }
    Ok(())
}

fn write_maps(process: libc::pid_t, text: &str) -> Result<(), Failure> {
    ["uid_map", "gid_map"]
        .iter()
        .try_for_each(|map| fs::write(format!("/proc/{process}/{map}"), text).map_err(Failure::at(map)))
}

/// Shows a directory or file at a path with the ids of a user namespace.
pub fn show(namespace: &OsStr, source: &OsStr, target: &OsStr) -> Result<(), Failure> {
    let tree = mapped(&open_users(namespace)?, source)?;
    put(&tree, target).map_err(Failure::at("mount"))
}

/// What an overlay is made of: directories, the lowest first, and `upper` and `work` in `writable`. `target` is empty and on a file system of its own that is no
/// overlay.
pub struct Overlay<'a> {
    pub writable: &'a OsStr,
    pub target: &'a OsStr,
    pub options: &'a OsStr,
    pub lowers: &'a [&'a OsStr],
}

impl Overlay<'_> {
    /// Mounts it of its directories as they are with the ids of a user namespace.
    pub fn mount_for(&self, namespace: &OsStr) -> Result<(), Failure> {
        let ids = open_users(namespace)?;
        let root = owner(&ids).map_err(Failure::at("user namespace"))?;
        self.mount(&ids, root)
    }

    /// The same, with the ids from `first` on, for a tree that the machine's root writes in as well: what it makes belongs to the id after the last one of these on
    /// disk, until it is given away.
    pub fn mount_shared(&self, first: &OsStr) -> Result<(), Failure> {
        let first = first_id(first)?;
        let text = format!("0 {first} {COUNT}\n{COUNT} 0 1\n");
        let ids = child::beside(
            // SAFETY: no memory is involved.
            || check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }).map(drop),
            |child| {
                write_maps(child, &text)?;
                open_users(OsStr::new(&format!("/proc/{child}/ns/user")))
            },
        )?;
        self.mount(&ids, first)
    }

    fn mount(&self, ids: &OwnedFd, root: libc::uid_t) -> Result<(), Failure> {
        act_as(root).map_err(Failure::at("user"))?;
        let here = c_string(self.target.as_bytes())?;
        // The kernel takes the parts of an overlay by their paths: for a moment they are all in a file system that goes with them.
        mount_kind(&here, literal(b"tmpfs\0"), literal(b"mode=700,size=64k\0")).map_err(Failure::at("tmpfs"))?;
        let made = self.stack(ids);
        // SAFETY: the path outlives the call.
        let gone = check(unsafe { libc::umount2(here.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) });
        let tree = made?;
        gone.map_err(Failure::at("umount"))?;
        put(&tree, self.target).map_err(Failure::at("mount"))
    }

    /// The overlay, mounted nowhere.
    fn stack(&self, ids: &OwnedFd) -> Result<OwnedFd, Failure> {
        std::env::set_current_dir(self.target).map_err(Failure::at("target"))?;
        let names: Vec<String> = (0..self.lowers.len()).rev().map(|number| number.to_string()).collect();
        for (number, lower) in self.lowers.iter().enumerate() {
            place(ids, lower, &number.to_string())?;
        }
        place(ids, self.writable, "w")?;
        fs::create_dir("m").map_err(Failure::at("mkdir"))?;
        let data = format!(
            "lowerdir={},upperdir=w/upper,workdir=w/work,{}",
            names.join(":"),
            self.options.to_string_lossy()
        );
        mount_kind(literal(b"m\0"), literal(b"overlay\0"), &c_string(data.as_bytes())?)
            .map_err(Failure::at("overlay"))?;
        clone_tree(literal(b"m\0")).map_err(Failure::at("open_tree"))
    }
}

/// The machine's user that made a user namespace: who makes those of sandboxes is the first of its ids.
fn owner(ids: &OwnedFd) -> io::Result<libc::uid_t> {
    /// `_IO(0xb7, 4)`, ioctl_ns(2)
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let mut owner: libc::uid_t = 0;
    // SAFETY: the kernel writes a number, which outlives the call.
    check(unsafe { libc::ioctl(ids.as_raw_fd(), NS_GET_OWNER_UID as _, &mut owner) })?;
    Ok(owner)
}

/// What overlayfs itself makes (whiteouts, its work) belongs to whoever mounts it: to the first of the ids, which is root's on disk. The machine's root has no id there.
fn act_as(root: libc::uid_t) -> io::Result<()> {
    // SAFETY: no memory is involved; the last two cannot fail for who may do all.
    unsafe {
        check(libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0))?;
        libc::setfsgid(root);
        libc::setfsuid(root);
    }
    Ok(())
}

fn place(ids: &OwnedFd, directory: &OsStr, name: &str) -> Result<(), Failure> {
    fs::create_dir(name).map_err(Failure::at("mkdir"))?;
    put(&mapped(ids, directory)?, OsStr::new(name)).map_err(Failure::at("mount"))
}

/// A directory or file as it is with other ids, mounted nowhere.
pub fn mapped(ids: &OwnedFd, path: &OsStr) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(&c_string(path.as_bytes())?).map_err(Failure::at("open_tree"))?;
    map_ids(&tree, ids).map_err(Failure::at("mount_setattr"))?;
    Ok(tree)
}

fn put(tree: &OwnedFd, target: &OsStr) -> io::Result<()> {
    let place = open(target, libc::O_PATH | libc::O_NOFOLLOW)?;
    move_mount(tree.as_raw_fd(), place.as_raw_fd())
}

fn open_users(path: &OsStr) -> Result<OwnedFd, Failure> {
    open(path, libc::O_RDONLY).map_err(Failure::at("user namespace"))
}

fn mount_kind(target: &std::ffi::CStr, kind: &std::ffi::CStr, data: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the strings outlive the call.
    check(unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, data.as_ptr().cast()) }).map(drop)
}
