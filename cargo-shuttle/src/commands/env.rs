//! `env`: the environment variables that the server keeps for a project.

use platform_wire::{Env, EnvChange, Variables};

use super::{block_on, project_name};
use crate::{
    cli::{self, Global, Name},
    client::Client,
    config,
    error::Error,
    project::SETTINGS_FILE,
    ui::Ui,
};

pub(super) fn run(global: &Global, command: &cli::Env, ui: &Ui) -> Result<(), Error> {
    match command {
        cli::Env::List(arguments) => list(global, &arguments.project, ui),
        cli::Env::Set(arguments) => {
            let set = parse(&arguments.variables)?;
            let names = set.keys().cloned().collect();
            change(global, &arguments.project, EnvChange { set, unset: Vec::new() }, ("Set", names), ui)
        }
        cli::Env::Unset(arguments) => {
            let names = arguments.names.clone();
            change(global, &arguments.project, EnvChange { unset: names.clone(), ..EnvChange::default() }, ("Unset", names), ui)
        }
    }
}

fn list(global: &Global, project: &Name, ui: &Ui) -> Result<(), Error> {
    let name = project_name(project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    let variables = block_on(async { Ok(client.env(&name).await?) })?;
    if ui.is_json() {
        ui.json(&variables);
    } else {
        lines(&variables).iter().for_each(|line| ui.data(line));
    }
    Ok(())
}

fn change(global: &Global, project: &Name, change: EnvChange, (label, names): (&str, Vec<String>), ui: &Ui) -> Result<(), Error> {
    let name = project_name(project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    let variables = block_on(async { Ok(client.change_env(&name, &change).await?) })?;
    ui.status(label, &format!("{} for {name}, from its next start on", names.join(", ")));
    // What was unset stays where the deployment brings it.
    for left in change.unset.iter().filter(|name| variables.deployment.contains_key(*name)) {
        ui.warning(&format!("{left} is still set by [env] in {SETTINGS_FILE}, as it was deployed"));
    }
    ui.status("Next", "cargo shuttle restart, to have it at once");
    if ui.is_json() {
        ui.json(&variables);
    }
    Ok(())
}

/// `NAME=VALUE`, the value as it is.
fn parse(arguments: &[String]) -> Result<Env, Error> {
    let mut env = Env::new();
    for argument in arguments {
        let usage = |message: String, hint: Option<String>| Error::Usage { message, hint };
        let Some((name, value)) = argument.split_once('=') else {
            let hint = format!("give it a value: cargo shuttle env set {argument}=VALUE");
            return Err(usage(format!("`{argument}` is not of the form NAME=VALUE"), Some(hint)));
        };
        platform_wire::env::check_variable(name, value).map_err(|error| usage(error.to_string(), error.hint()))?;
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(env)
}

fn lines(variables: &Variables) -> Vec<String> {
    let line = |(name, value): (&String, &String)| {
        let whence = match (variables.project.contains_key(name), variables.deployment.contains_key(name)) {
            (true, true) => format!("set, instead of {SETTINGS_FILE}'s"),
            (true, false) => "set".to_owned(),
            _ => format!("from {SETTINGS_FILE}"),
        };
        // A value of several lines is shown as one.
        format!("{name}={}  ({whence})", value.escape_debug())
    };
    variables.merged().iter().map(line).collect()
}
