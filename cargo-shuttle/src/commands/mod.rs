//! One module a command. A command reads what it needs, talks to the server, and prints through [`Ui`].

mod delete;
mod deploy;
mod deployment;
mod dry_run;
mod env;
mod interrupt;
mod login;
mod logs;
mod project;
mod restart;
mod send;
mod status;
mod still;
mod watch;

use std::future::Future;

use platform_wire::ProjectName;

use crate::{
    cli::{Cli, Command, Name},
    error::{Error, Following},
    project as package,
    ui::Ui,
};

pub(crate) fn run(cli: Cli, ui: &Ui) -> Result<(), Error> {
    match cli.command {
        Command::Deploy(arguments) => deploy::run(&cli.global, &arguments, ui),
        Command::Project(arguments) => project::run(&cli.global, &arguments, ui),
        Command::Deployment(arguments) => deployment::run(&cli.global, &arguments, ui),
        Command::Status(arguments) => status::run(&cli.global, &arguments, ui),
        Command::Restart(arguments) => restart::run(&cli.global, &arguments, ui),
        Command::Env(command) => env::run(&cli.global, &command, ui),
        Command::Logs(arguments) => logs::run(&cli.global, &arguments, ui),
        Command::Delete(arguments) => delete::run(&cli.global, &arguments, ui),
        Command::Login(_) => login::run(&cli.global, ui),
    }
}

/// The project that is named, or the one of the folder.
fn project_name(name: &Name, ui: &Ui) -> Result<ProjectName, Error> {
    if let Some(name) = &name.name {
        return name.parse().map_err(|error: platform_wire::InvalidName| Error::Usage {
            message: error.to_string(),
            hint: Some("give the name that the project was deployed under".to_owned()),
        });
    }
    let (context, manifest) = package::context(&name.select, ui)?;
    let workspace = package::workspace(&context, &manifest)?;
    Ok(package::locate(&workspace, &name.select)?.name?)
}

/// Runs a request. cargo's types stay on this thread, so there is one.
fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Io { what: "cannot start the runtime", source })?.block_on(future)
}

/// Ctrl-C ends this future, and says what goes on without it. From then on the process no longer ends by the signal itself,
/// so this stands only where nothing follows that blocks: a question, or packing.
async fn interruptible<T>(what: Following, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        result = future => result,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted { what }),
    }
}
