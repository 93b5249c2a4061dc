//! The real binary, run on made-up projects against a made-up server. What the real server does with an archive is tested
//! with the server.

mod archive;
mod cancel;
mod commands;
mod dependencies;
mod deploy;
mod dry_run;
mod env;
mod hints;
mod origin;
mod refusals;
mod secrets;
mod settings;
mod several;
mod support;
mod upload;
mod workspace;
mod written;
