//! The agent as the sandbox's init: the event loop, the processes it starts and everything that belongs to them.

mod agent;
mod child;
mod clock;
mod connections;
mod events;
pub mod init;
mod output;
mod port;
mod ports;
mod process;
mod pty;
mod requests;
mod spawn;
mod stdin;
mod timers;
mod tree;
mod usage;
