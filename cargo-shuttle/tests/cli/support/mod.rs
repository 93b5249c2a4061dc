//! What the tests stand on: projects on disk, a server in memory, and the binary run between them.

mod archive;
mod project;
mod run;
mod server;
mod terminal;

pub(crate) use archive::Archive;
pub(crate) use project::{Project, manifest};
pub(crate) use run::{Run, Shuttle};
pub(crate) use server::{Break, KEY, Server, deployment, finished, sse};
pub(crate) use terminal::{CTRL_C, Terminal};
