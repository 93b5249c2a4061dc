//! The proxy with real sockets. Nothing here waits for time to pass: each step is told by an event of the other side.

mod again;
mod early;
mod failures;
mod faults;
mod requests;
mod support;
mod swaps;
mod upgrades;
