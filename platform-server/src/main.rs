//! `platform-server`: builds, runs and proxies the apps that `cargo shuttle deploy` sends.
//!
//! ARCHITECTURE.md has the map. This file reads the command line and makes the runtime; [`app`] is the server.

mod address;
mod app;
mod archive;
mod artifact;
mod build;
mod cache;
mod config;
mod connection;
mod data_dir;
mod db;
mod deployment;
mod http;
mod listing;
mod locks;
mod logs;
mod process;
mod provision;
mod proxy;
mod remove;
mod reserve;
mod sandbox;
mod stored;
mod supervisor;
mod uids;
mod usage;
mod vault;

use std::{io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

fn main() -> ExitCode {
    // Before anything else, and before there is a second thread: this may be no server at all.
    sandbox::enter::run_if_asked(&[(build::reading::READER, build::reading::run)]);
    // Builds, apps and databases run as other users and have to enter what is made for them. What is nobody else's to read
    // has a mode of its own, so a strict umask (`UMask=0077` of systemd) would add nothing.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let command = config::Cli::parse().command;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::registry()
        .with(filter)
        .with(tracing_subscriber::fmt::layer().with_ansi(ansi).with_target(false).with_writer(std::io::stderr))
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}"), None),
    };
    let done = match command {
        config::Command::Serve(serve) => runtime.block_on(app::run(*serve)),
        config::Command::Cache(cache) => runtime.block_on(cache::run(cache)),
    };
    leave(runtime);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), error.hint().as_deref()),
    }
}

/// Ends the runtime, and waits only a moment for threads that a slow disk holds up: all that had to be waited for has been.
fn leave(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(1));
}

fn fail(message: &str, hint: Option<&str>) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: {message}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[test]
    fn a_thread_that_the_disk_holds_up_does_not_hold_up_the_end() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (never, waits) = mpsc::channel::<()>();
        let (begins, begun) = mpsc::channel();
        runtime.spawn_blocking(move || {
            begins.send(()).unwrap();
            waits.recv()
        });
        begun.recv().unwrap();
        let (ends, ended) = mpsc::channel();
        std::thread::spawn(move || {
            super::leave(runtime);
            ends.send(()).unwrap();
        });
        ended.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
        drop(never);
    }
}
