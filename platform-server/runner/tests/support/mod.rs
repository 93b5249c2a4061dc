//! What the test binaries share: artifacts, and the server's side of a runner. Each uses a part of it.
#![allow(dead_code)]

pub(crate) mod build;
pub(crate) mod docs;
pub(crate) mod server;
