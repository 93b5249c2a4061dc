//! `logs`: the last lines, and with `--follow` every new one.

use std::time::Duration;

use platform_wire::LogLine;

use super::{block_on, interruptible, project_name};
use crate::{
    cli::{Global, Logs},
    client::Client,
    config,
    error::{Error, Following},
    follow::{Follow, FollowError, Next},
    ui::Ui,
};

pub(super) fn run(global: &Global, arguments: &Logs, ui: &Ui) -> Result<(), Error> {
    let name = project_name(&arguments.project, ui)?;
    let client = Client::new(&config::server(global)?)?;
    if arguments.follow {
        let url = client.logs_url(&name, arguments.tail);
        let patience = Duration::from_secs(arguments.reconnect.seconds);
        return block_on(interruptible(Following::Logs, follow(Follow::new(&client, url, patience), ui)));
    }
    let lines = block_on(async { Ok(client.logs(&name, arguments.tail).await?) })?;
    if ui.is_json() {
        ui.json(&lines);
    } else if lines.is_empty() {
        ui.status("Nothing", "was logged yet");
    } else {
        lines.iter().for_each(|line| ui.log_data(line));
    }
    Ok(())
}

async fn follow(mut follow: Follow<'_>, ui: &Ui) -> Result<(), Error> {
    loop {
        match follow.next().await {
            Ok(Next::Event(data)) => {
                // What a newer server sends beside lines is skipped.
                let Ok(line) = serde_json::from_str::<LogLine>(&data) else { continue };
                if ui.is_json() {
                    ui.json(&line);
                } else {
                    ui.log_data(&line);
                }
            }
            Ok(Next::Disconnected) => {}
            Err(FollowError::Lost(why)) => return Err(Error::Lost { what: Following::Logs, why }),
            Err(FollowError::Client(error)) => return Err(error.into()),
        }
    }
}
