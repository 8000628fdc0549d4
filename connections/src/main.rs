//! Has the kernel forget the connections that it tracks for addresses of the sandbox network: whoever gets such an address next must not be reached by what was sent to the one
//! before, and the table of connections must not keep what is over. `nft` has no word for it, and machines rarely have `conntrack`.

mod message;
mod table;

use std::net::Ipv4Addr;
use std::process::exit;

const USAGE: &str = "usage: skerry-connections forget ADDRESS...";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let addresses = match words.split_first() {
        Some((command, rest)) if command == "forget" && !rest.is_empty() => {
            rest.iter().map(|word| word.parse()).collect::<Result<Vec<Ipv4Addr>, _>>()
        }
        _ => return fail(2, USAGE),
    };
    let Ok(addresses) = addresses else {
        return fail(2, USAGE);
    };
    match addresses.into_iter().try_fold(0, |sum, address| Ok(sum + table::forget(address)?)) {
        Ok(count) => println!("{count}"),
        Err(table::Error(what, error)) => fail(1, &format!("{what}: {error}")),
    }
}

fn fail(code: i32, words: &str) {
    eprintln!("{words}");
    exit(code);
}
