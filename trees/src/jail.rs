//! What a program runs in that speaks with strangers: a root with nothing but the machine's libraries, certificates and a directory to write in, a user that
//! owns nothing else, and no rights.

use crate::failure::Failure;
use crate::sys::{c_string, check, literal, openat};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;

pub struct Jail<'a> {
    /// The machine's user that the jail's user 0 is.
    pub user: u32,
    /// Where it may write.
    pub scratch: &'a OsStr,
    pub resolver: &'a OsStr,
    /// More certificates that it trusts; empty for none.
    pub certificates: &'a OsStr,
}

const LIBRARIES: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Files and directories of the machine that libraries look for.
const SETTINGS: [&str; 5] = [
    "etc/ssl",
    "etc/ca-certificates",
    "etc/mime.types",
    "etc/ld.so.cache",
    "etc/gnutls",
];
const OPEN_FILES: u64 = 4096;

/// Makes this process one of the jail, as far as its files go. `root` is an empty directory.
pub fn enter(jail: &Jail, root: &Path) -> Result<(), Failure> {
    let own = std::env::current_exe().map_err(Failure::at("own program"))?;
    // SAFETY: no memory is involved.
    unsafe {
        libc::setsid();
        check(libc::unshare(
            libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS,
        ))
        .map_err(Failure::at("unshare"))?;
    }
    // From here on nothing leads out of this namespace.
    change(Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)?;
    mount(
        Some("tmpfs"),
        root,
        libc::MS_NOSUID,
        Some("mode=755,size=1m,nr_inodes=200"),
    )?;
    let inside = |path: &str| root.join(path);
    for directory in ["usr", "etc", "dev", "tmp", "mnt", "helpers"] {
        make(&inside(directory))?;
    }
    show(Path::new("/usr"), &inside("usr"), true)?;
    for name in LIBRARIES {
        let path = PathBuf::from("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => symlink(target, inside(name)).map_err(Failure::at(name))?,
            Err(_) if path.is_dir() => {
                make(&inside(name))?;
                show(&path, &inside(name), true)?;
            }
            Err(_) => {}
        }
    }
    for name in SETTINGS {
        let path = PathBuf::from("/").join(name);
        if path.exists() {
            show_at(&path, &inside(name), true)?;
        }
    }
    if !jail.certificates.is_empty() {
        show_at(Path::new(jail.certificates), &inside("etc/certificates.pem"), true)?;
    }
    for device in ["dev/null", "dev/urandom", "dev/random"] {
        show_device(&PathBuf::from("/").join(device), &inside(device))?;
    }
    let resolver = format!("nameserver {}\n", jail.resolver.to_string_lossy());
    for (name, text) in [
        ("etc/resolv.conf", resolver.as_str()),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/nsswitch.conf", "hosts: files dns\n"),
        ("etc/passwd", "root:x:0:0::/:/bin/false\n"),
        ("etc/group", "root:x:0:\n"),
    ] {
        fs::write(inside(name), text).map_err(Failure::at(name))?;
    }
    show_at(&own, &inside("helpers/fusermount"), true)?;
    // Programs look there first.
    let usual = inside("usr/bin/fusermount");
    if let Ok(real) = usual.canonicalize() {
        show(&own, &real, true)?;
    }
    chown(Path::new(jail.scratch), jail.user)?;
    show(Path::new(jail.scratch), &inside("tmp"), false)?;
    pivot(root)?;
    remount_read_only(Path::new("/"))
}

/// The machine's settings, which nothing in the jail shows.
pub fn settings() -> Result<OwnedFd, Failure> {
    openat(
        libc::AT_FDCWD,
        literal(b"/proc/sys\0"),
        libc::O_PATH | libc::O_DIRECTORY,
        0,
    )
    .map_err(Failure::at("/proc/sys"))
}

/// Gives up the machine's user for one of the jail. `mapped` has somebody outside say which that is.
pub fn drop_user(settings: &OwnedFd, mapped: &mut dyn FnMut() -> io::Result<()>) -> Result<(), Failure> {
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    // SAFETY: no memory is involved but the empty list of groups.
    unsafe {
        check(libc::setgroups(0, ptr::null())).map_err(Failure::at("setgroups"))?;
        check(libc::unshare(libc::CLONE_NEWUSER)).map_err(Failure::at("user namespace"))?;
    }
    mapped().map_err(Failure::at("user"))?;
    // SAFETY: as above.
    unsafe {
        check(libc::setresgid(0, 0, 0)).map_err(Failure::at("setresgid"))?;
        check(libc::setresuid(0, 0, 0)).map_err(Failure::at("setresuid"))?;
    }
    // In a user namespace of its own making it would have all capabilities again. The setting is that of this one.
    let most = openat(
        settings.as_raw_fd(),
        literal(b"user/max_user_namespaces\0"),
        libc::O_WRONLY,
        0,
    )
    .map_err(Failure::at("max_user_namespaces"))?;
    fs::File::from(most)
        .write_all(b"0")
        .map_err(Failure::at("max_user_namespaces"))
}

/// From the next program on it has no capability, in its own user namespace neither, and can get none.
pub fn drop_rights() -> Result<(), Failure> {
    // SAFETY: no memory is involved.
    unsafe {
        for capability in 0..64 {
            // The kernel knows fewer: it refuses the others.
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).map_err(Failure::at("no_new_privs"))?;
    }
    Ok(())
}

fn limit(what: libc::__rlimit_resource_t, most: u64) -> Result<(), Failure> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::setrlimit(what, &limit) })
        .map(drop)
        .map_err(Failure::at("setrlimit"))
}

/// Makes `root` the root of this process, and lets go of everything else.
fn pivot(root: &Path) -> Result<(), Failure> {
    let root = c_string(root.as_os_str().as_bytes())?;
    let here = literal(b".\0");
    // SAFETY: the paths outlive the calls. The old root comes to lie over the new one, from where it is taken away (pivot_root(2)).
    unsafe {
        check(libc::chdir(root.as_ptr())).map_err(Failure::at("chdir"))?;
        check(libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) as i32)
            .map_err(Failure::at("pivot_root"))?;
        check(libc::umount2(here.as_ptr(), libc::MNT_DETACH)).map_err(Failure::at("umount"))?;
        check(libc::chdir(literal(b"/\0").as_ptr())).map_err(Failure::at("chdir"))?;
    }
    Ok(())
}

/// The same where there is nothing yet.
fn show_at(source: &Path, target: &Path, read_only: bool) -> Result<(), Failure> {
    if source.is_dir() {
        make(target)?;
    } else {
        fs::write(target, "").map_err(Failure::at("file"))?;
    }
    show(source, target, read_only)
}

fn show_device(source: &Path, target: &Path) -> Result<(), Failure> {
    fs::write(target, "").map_err(Failure::at("device"))?;
    mount(source.to_str(), target, libc::MS_BIND, None)
}

fn show(source: &Path, target: &Path, read_only: bool) -> Result<(), Failure> {
    mount(source.to_str(), target, libc::MS_BIND, None)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | if read_only { libc::MS_RDONLY } else { libc::MS_NOEXEC };
    change(target, libc::MS_BIND | libc::MS_REMOUNT | flags)
}

fn remount_read_only(target: &Path) -> Result<(), Failure> {
    change(
        target,
        libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID,
    )
}

fn make(directory: &Path) -> Result<(), Failure> {
    fs::create_dir(directory).map_err(Failure::at("directory"))
}

fn chown(path: &Path, user: u32) -> Result<(), Failure> {
    let path = c_string(path.as_os_str().as_bytes())?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::lchown(path.as_ptr(), user, user) })
        .map(drop)
        .map_err(Failure::at("chown"))
}

fn change(target: &Path, flags: libc::c_ulong) -> Result<(), Failure> {
    mount(None, target, flags, None)
}

/// mount(2); a source without a path is the name of a file system.
fn mount(source: Option<&str>, target: &Path, flags: libc::c_ulong, options: Option<&str>) -> Result<(), Failure> {
    let source = c_string(source.unwrap_or("none").as_bytes())?;
    let kind = options.map(|_| source.clone());
    let options = options.map(|text| c_string(text.as_bytes())).transpose()?;
    let path = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: all strings outlive the call.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            path.as_ptr(),
            kind.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
            flags,
            options.as_ref().map_or(ptr::null(), |text| text.as_ptr().cast()),
        )
    })
    .map(drop)
    .map_err(|error| Failure::from((&*format!("mount on {}", target.display()), error)))
}
