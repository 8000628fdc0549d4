//! Keeps a directory of this machine and one of a sandbox that nobody can look into from outside like each other, by the program in the sandbox that `take` talks
//! to as well. `collect` brings here what the sandbox changed since they last were, `deliver` brings there what this machine did. What both had then stands in a
//! file; where both changed the same, what is collected first wins, so that nothing of a program's own is written over.
//!
//! Nobody else changes the directory meanwhile. In the sandbox anything may happen at any time, and all that is heard of it is hostile.

mod collect;
mod deliver;
mod state;

use crate::failure::Failure;
use crate::sys::raise_open_files;
use crate::take::wire::Wire;
use state::State;
use std::ffi::OsStr;
use std::io;

/// Where a file is until it is whole, in the top directory of either: it is none of theirs. `agent/src/files/put.rs` and `server/src/engines/references.ts` have
/// the same.
const UNFINISHED: &[u8] = b".skerry-incoming";

pub fn collect(directory: &OsStr, state: &OsStr) -> Result<(), Failure> {
    with_state(state, |state| {
        collect::collect(directory, state, Wire::new(io::stdin(), io::stdout()))
    })
}

pub fn deliver(directory: &OsStr, state: &OsStr) -> Result<(), Failure> {
    with_state(state, |state| {
        deliver::deliver(directory, state, Wire::new(io::stdin(), io::stdout()))
    })
}

/// What was done before a failure is remembered too.
fn with_state(path: &OsStr, work: impl FnOnce(&mut State) -> Result<(), Failure>) -> Result<(), Failure> {
    raise_open_files();
    let mut state = State::read(path).map_err(Failure::at("state"))?;
    let result = work(&mut state);
    let kept = state.write(path).map_err(Failure::at("state"));
    result.and(kept)
}
