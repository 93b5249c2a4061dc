//! `logs`: the last lines, and with `--follow` every new one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use platform_wire::{Deployment, LogLine, ProjectName, State};

use super::{block_on, deployment, interruptible, project_name};
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
    let only = arguments.deployment.as_deref();
    if arguments.follow {
        let url = client.logs_url(&name, only, arguments.tail, true);
        let patience = Duration::from_secs(arguments.reconnect.seconds);
        let remarks = Remarks::new(&client, &name);
        return block_on(interruptible(Following::Logs, follow(Follow::new(&client, url, patience), remarks, ui)));
    }
    block_on(async {
        let lines = client.logs(&name, only, arguments.tail).await?;
        if ui.is_json() {
            ui.json(&lines);
            return Ok(());
        }
        if lines.is_empty() {
            let by = only.map(|id| format!(" by deployment {id}")).unwrap_or_default();
            ui.status("Nothing", &format!("was logged yet{by}"));
        }
        let mut remarks = Remarks::new(&client, &name);
        for line in &lines {
            ui.log_data(line, remarks.of(&line.deployment).await);
        }
        Ok(())
    })
}

async fn follow(mut follow: Follow<'_>, mut remarks: Remarks<'_>, ui: &Ui) -> Result<(), Error> {
    loop {
        match follow.next().await {
            Ok(Next::Event(data)) => {
                // What a newer server sends beside lines is skipped.
                let Ok(line) = serde_json::from_str::<LogLine>(&data) else { continue };
                if ui.is_json() {
                    ui.json(&line);
                } else {
                    ui.log_data(&line, remarks.of(&line.deployment).await);
                }
            }
            Ok(Next::Disconnected) => {}
            Err(FollowError::Lost(why)) => return Err(Error::Lost { what: Following::Logs, why }),
            Err(FollowError::Client(error)) => return Err(error.into()),
        }
    }
}

/// How often the deployments are asked for at most, while lines arrive of one that may still fail.
const PAUSE: Duration = Duration::from_secs(2);

/// What is said of the deployments whose lines are printed: those that came to nothing.
struct Remarks<'a> {
    client: &'a Client,
    project: &'a ProjectName,
    /// Of those that are in their last state: no other is kept, as a deployment writes lines before it fails.
    known: HashMap<String, Option<&'static str>>,
    asked: Option<Instant>,
}

impl<'a> Remarks<'a> {
    fn new(client: &'a Client, project: &'a ProjectName) -> Self {
        Self { client, project, known: HashMap::new(), asked: None }
    }

    async fn of(&mut self, id: &str) -> Option<&'static str> {
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= PAUSE);
        if !self.known.contains_key(id) && is_due {
            // A project that was deleted, or a server that is busy: the lines are what was asked for.
            let deployments = self.client.deployments(self.project).await.unwrap_or_default();
            let ended = deployments.iter().filter(|deployment| matches!(deployment.state, State::Error | State::Deleted));
            self.known.extend(ended.map(|deployment| (deployment.id.clone(), remark(deployment))));
            self.asked = Some(Instant::now());
        }
        self.known.get(id).copied().flatten()
    }
}

fn remark(deployment: &Deployment) -> Option<&'static str> {
    (deployment.state == State::Error).then(|| deployment::state(deployment))
}
