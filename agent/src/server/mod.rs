//! The way to the server: dialling its socket, connections, and what requests say.

pub mod connection;
pub mod dialer;
pub mod request;
