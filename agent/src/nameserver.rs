//! `skerry-agent nameserver ADDRESS`: has programs of this sandbox ask there for names from now on. For a sandbox whose files nobody writes from outside.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Often a mount of its own, so it is written over and not replaced.
const FILE: &str = "/etc/resolv.conf";

pub fn main(address: Option<&OsString>) -> i32 {
    set(Path::new(FILE), address)
}

fn set(file: &Path, address: Option<&OsString>) -> i32 {
    let word = address.and_then(|word| word.to_str());
    let Some(address) = word.and_then(|word| word.parse::<IpAddr>().ok()) else {
        eprintln!("skerry-agent: nameserver needs an address");
        return 2;
    };
    match fs::write(file, format!("nameserver {}\n", address)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("skerry-agent: {}: {}", file.display(), error);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_it_alone_and_is_the_same_file() {
        let file = std::env::temp_dir().join(format!("skerry-agent-nameserver-{}", std::process::id()));
        fs::write(&file, "search a.test\nnameserver 192.0.2.1\n").expect("a file");
        let other = file.with_extension("other");
        fs::hard_link(&file, &other).expect("another name");
        assert_eq!(set(&file, Some(&OsString::from("192.0.2.53"))), 0);
        assert_eq!(fs::read_to_string(&other).expect("text"), "nameserver 192.0.2.53\n");
        assert_eq!(set(&file, Some(&OsString::from("192.0.2.53\noptions x"))), 2);
        assert_eq!(set(&file, None), 2);
        for path in [file, other] {
            fs::remove_file(path).expect("it is there");
        }
        assert_eq!(set(Path::new("/no/such/file"), Some(&OsString::from("::1"))), 1);
    }
}
