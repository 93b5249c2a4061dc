//! The real binary, run on made-up projects against a made-up server. What the real server does with an archive is tested
//! with the server.

mod archive;
mod commands;
mod deploy;
mod refusals;
mod support;
