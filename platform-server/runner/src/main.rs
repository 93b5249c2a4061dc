//! `platform-runner`: loads one artifact and serves it. One process for each live instance of an app.
//!
//! Takes no arguments. Its stdin is the control socket, on which the server sends the launch and its descriptors
//! ([`launch`]). It confines itself ([`confine`], [`view`]) while it is the only thread and before anything of the artifact has
//! been touched, as constructors run inside `dlopen`; then it loads the artifact and calls its entry ([`load`]), which
//! serves until it is told to stop. An artifact that is a program it becomes instead ([`execute`]). Nothing is ever unloaded: the end of the process is the unload.
//!
//! Exit status: what the entry returned ([`shuttle_abi::STATUS_OK`] and its neighbours), or 1 when it was never called; the
//! server has got a [`RunnerMessage::Failed`] then. To the environment that it was started with it adds the variables
//! of the launch and nothing else.

mod confine;
mod execute;
mod failure;
mod launch;
mod load;
mod view;

use std::{
    io::Write,
    os::fd::{AsFd, IntoRawFd},
    process::ExitCode,
};

use shuttle_abi::{AppLaunch, FailedStage, RunnerMessage, STATUS_FAILED, frame};

use crate::{
    failure::{Failure, Stage},
    launch::{Control, Received},
};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => {
            drop(writeln!(std::io::stdout(), "platform-runner {}", env!("CARGO_PKG_VERSION")));
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            drop(writeln!(
                std::io::stderr(),
                "platform-runner is started by platform-server and takes no arguments (but --version)"
            ));
            return ExitCode::from(2);
        }
    }
    let status = match Control::take_stdin() {
        Ok(mut control) => serve(&mut control).unwrap_or_else(|failure| {
            // Without a server to tell there is nothing else to do.
            drop(frame::write(&mut control, &RunnerMessage::Failed { stage: failure.stage, message: failure.message }));
            STATUS_FAILED
        }),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "platform-runner: stdin is no control socket: {error}"));
            STATUS_FAILED
        }
    };
    // Not by returning: a thread that the app left behind might hold what the ordinary way out waits for.
    std::process::exit(status)
}

/// From the launch to the end of the service.
fn serve(control: &mut Control) -> Result<i32, Failure> {
    let Received { launch, artifact, listener, log } = launch::receive(control)?;
    confine::confine(&launch, control.as_fd())?;
    confine::set_variables(&launch);
    // The SDK owns these from here on; our control socket, kept for reporting, is the same one under another number.
    let control_fd = control.duplicate().stage(FailedStage::Load, "the control socket")?.into_raw_fd();
    let (listener_fd, log_fd) = (listener.into_raw_fd(), log.into_raw_fd());
    let app = AppLaunch {
        project: launch.project,
        deployment: launch.deployment,
        url: launch.url,
        environment: launch.environment,
        resources: launch.resources,
        control_fd,
        listener_fd,
        log_fd,
    };
    let app = serde_json::to_vec(&app).map_err(|error| Failure::new(FailedStage::Load, error.to_string()))?;
    if launch.executable {
        return Err(execute::execute(&artifact, &launch.crate_name, &app, [control_fd, listener_fd, log_fd]));
    }
    Ok(load::run(load::load(artifact, &launch.crate_name)?, &app))
}
