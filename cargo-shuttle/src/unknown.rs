//! Commands that there are not: those of the Shuttle CLI that people remember, each with what does it here.

use clap::{
    CommandFactory as _,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{cli::Cli, error::Error};

const BUILT_IN: &str =
    "the parameters of the annotated function say what the app needs, and `cargo shuttle status` shows what it has";
const START: &str = "`cargo shuttle restart` starts the app's process anew, `cargo shuttle deploy` a new version of it";
const STOP: &str = "an app runs until `cargo shuttle delete` ends it; its data is kept, and comes back with the next deployment";
const SECRETS: &str = "write them to Secrets.toml beside the package's Cargo.toml; `cargo shuttle deploy` sends them";
const ONE_BOX: &str = "there are no accounts: a server is yours, and `cargo shuttle login` remembers it with its key";
const OWN_DOMAIN: &str = "the server's owner names the domain of all apps with `platform-server serve --domain`";

/// What was asked for, and what there is instead.
const INSTEAD: [(&str, &str); 25] = [
    (
        "init",
        "make a package with `cargo new --lib NAME`, annotate a function with #[shuttle_service::main], and deploy it: \
         `cargo shuttle deploy` says what is missing",
    ),
    ("new", "make a package with `cargo new --lib NAME`; `cargo shuttle deploy` says what is missing in it"),
    ("run", "there is no local run yet: deploy to a server on this machine, which `platform-server serve` starts"),
    ("build", "the server builds: `cargo shuttle deploy`; `cargo check` finds most mistakes before that"),
    ("start", START),
    ("stop", STOP),
    ("list", "`cargo shuttle project list` lists the projects, `cargo shuttle deployment list` a project's deployments"),
    ("ls", "`cargo shuttle project list` lists the projects, `cargo shuttle deployment list` a project's deployments"),
    ("resource", BUILT_IN),
    ("resources", BUILT_IN),
    ("secrets", SECRETS),
    ("clean", "a deployment builds what has changed; on the server, `platform-server cache --clear` empties the build folders"),
    ("rm", "`cargo shuttle delete` deletes the project"),
    ("destroy", "`cargo shuttle delete` deletes the project"),
    ("rollback", "check out the version before, and `cargo shuttle deploy` it"),
    ("redeploy", "`cargo shuttle deploy --force` builds and starts it anew, `cargo shuttle restart` starts it anew"),
    ("auth", ONE_BOX),
    ("account", ONE_BOX),
    ("logout", "remove the file that `cargo shuttle login` named when it wrote it"),
    ("certificate", OWN_DOMAIN),
    ("domain", OWN_DOMAIN),
    ("upgrade", "install it from a newer clone: `cargo install --path cargo-shuttle`"),
    ("feedback", "tell the people who gave you this program"),
    ("generate", "`cargo shuttle --help` lists the commands; there are no completions for shells yet"),
    ("mcp", "`--output json` gives every command's result to programs"),
];

/// Commands below `project` and `deployment`.
const BELOW: [(&str, &str); 15] = [
    ("project new", "`cargo shuttle deploy` makes the project with its first deployment"),
    ("project create", "`cargo shuttle deploy` makes the project with its first deployment"),
    ("project start", START),
    ("project restart", "`cargo shuttle restart` starts the app's process anew"),
    ("project stop", STOP),
    ("project status", "`cargo shuttle status` shows the project of this folder, `cargo shuttle status --name NAME` another one"),
    ("project delete", "`cargo shuttle delete` deletes the project"),
    ("project rm", "`cargo shuttle delete` deletes the project"),
    ("project link", "`cargo shuttle deploy --name NAME` sets the project's name for this folder"),
    ("project update", "`cargo shuttle deploy --name NAME` deploys under another name"),
    ("deployment status", "`cargo shuttle deployment list` shows what became of each, `cargo shuttle status` what serves"),
    ("deployment logs", "`cargo shuttle logs --deployment ID` prints what a deployment logged"),
    ("deployment redeploy", "check out that version, and `cargo shuttle deploy` it"),
    ("deployment stop", "`cargo shuttle deployment cancel` ends one that is under way, `cargo shuttle delete` what serves"),
    ("deployment new", "`cargo shuttle deploy` makes one"),
];

/// The error for a command that there is not; `None` where clap's is about something else.
pub(crate) fn command(error: &clap::Error) -> Option<Error> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let parent = parent(error);
    let (full, table): (String, &[(&str, &str)]) = match &parent {
        Some(parent) => (format!("{parent} {given}"), &BELOW),
        None => (given.clone(), &INSTEAD),
    };
    let instead = table.iter().find(|(name, _)| *name == full).map(|(_, instead)| (*instead).to_owned());
    let hint = instead.unwrap_or_else(|| match suggested(error) {
        Some(nearest) => {
            let nearest = parent.map_or(nearest.clone(), |parent| format!("{parent} {nearest}"));
            format!("did you mean `cargo shuttle {nearest}`?")
        }
        None => {
            let known = names(parent.as_deref()).join(", ");
            let help = parent.map_or("cargo shuttle --help".to_owned(), |parent| format!("cargo shuttle {parent} --help"));
            format!("there are: {known}; see `{help}`")
        }
    });
    Some(Error::Usage { message: format!("there is no command `cargo shuttle {full}`"), hint: Some(hint) })
}

/// The command below which one was looked for, from the line of usage: `Usage: cargo shuttle project [OPTIONS] <COMMAND>`.
fn parent(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let words = usage.split_whitespace().skip_while(|word| *word != "shuttle").skip(1);
    words.take(1).find(|word| word.chars().all(|letter| letter.is_ascii_lowercase())).map(str::to_owned)
}

fn suggested(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(name) => Some(name.clone()),
        // The last one is the nearest.
        ContextValue::Strings(names) => names.last().cloned(),
        _ => None,
    }
}

fn names(parent: Option<&str>) -> Vec<String> {
    let all = Cli::command();
    let command = parent.and_then(|parent| all.find_subcommand(parent)).unwrap_or(&all);
    command.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn told(arguments: &[&str]) -> (String, String) {
        let error = Cli::try_parse_from([&["cargo-shuttle"], arguments].concat()).unwrap_err();
        let error = command(&error).unwrap();
        (error.to_string(), error.hint().unwrap())
    }

    #[test]
    fn a_command_of_other_days_gets_what_does_it_here() {
        for (arguments, hint) in [
            (&["init", "--template", "axum", "my-app"][..], "cargo new --lib"),
            (&["run", "--port", "8080"], "platform-server serve"),
            (&["stop"], "cargo shuttle delete"),
            (&["list"], "cargo shuttle project list"),
            (&["resource", "list"], "cargo shuttle status"),
            (&["project", "status"], "cargo shuttle status --name NAME"),
            (&["deployment", "logs"], "cargo shuttle logs --deployment ID"),
        ] {
            let (message, said) = told(arguments);
            assert!(message.starts_with("there is no command `cargo shuttle ") && said.contains(hint), "{message}: {said}");
        }
    }

    #[test]
    fn a_slip_gets_the_nearest_and_what_is_near_to_none_gets_all() {
        assert_eq!(
            told(&["deploi"]),
            ("there is no command `cargo shuttle deploi`".to_owned(), "did you mean `cargo shuttle deploy`?".to_owned())
        );
        assert_eq!(told(&["project", "lits"]).1, "did you mean `cargo shuttle project list`?");
        assert!(told(&["xyzzy"]).1.starts_with("there are: deploy, project, deployment, status, restart,"));
    }

    #[test]
    fn no_table_names_a_command_that_there_is() {
        let all = Cli::command();
        for (name, _) in INSTEAD.iter().chain(&BELOW) {
            let mut command = Some(&all);
            for word in name.split(' ') {
                command = command.and_then(|command| command.find_subcommand(word));
            }
            assert!(command.is_none(), "{name}");
        }
    }
}
