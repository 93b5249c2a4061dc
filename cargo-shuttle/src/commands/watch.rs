//! Follows one deployment to its end and shows what happens on the way.

use std::time::Duration;

use platform_wire::{Event, Failure, FailureKind, Outcome, Stage, State};

use crate::{
    client::Client,
    error::{Error, Following},
    follow::{Follow, FollowError, Next},
    ui::{Bar, Ui},
};

/// Without a terminal, progress is told in so many steps.
const STEPS: u32 = 10;

/// The URL, if it ends well.
pub(super) async fn until_finished(client: &Client, id: &str, patience: Duration, ui: &Ui) -> Result<String, Error> {
    let mut follow = Follow::new(client, client.events_url(id), patience);
    let mut view = View { ui, bar: None, step: None, ahead: None, reconnecting: false };
    loop {
        let outcome = match follow.next().await {
            Ok(Next::Event(data)) => view.event(&data),
            Ok(Next::Disconnected) => {
                view.disconnected();
                // The events of a server that was started anew may be gone, and what became of the deployment is not.
                result_of(client, id).await
            }
            Err(FollowError::Lost(why)) => return Err(Error::Lost { what: Following::Deployment(id.to_owned()), why }),
            Err(FollowError::Client(error)) => return Err(error.into()),
        };
        if let Some(outcome) = outcome {
            view.clear();
            return finish(id, outcome);
        }
    }
}

/// How a deployment ended, if it has. Being built is also what an older deployment rests in, so it says nothing.
async fn result_of(client: &Client, id: &str) -> Option<Outcome> {
    let deployment = client.deployment(id).await.ok()?;
    match deployment.state {
        State::Queued | State::Built | State::Loaded => None,
        State::Deployed => Some(Outcome::Deployed { url: deployment.url }),
        State::Deleted => Some(Outcome::Deleted),
        State::Error => {
            let failure = deployment.failure.unwrap_or_else(|| Failure {
                kind: FailureKind::Other,
                message: "the deployment failed, and the server does not say why".to_owned(),
                hint: None,
                exit_status: None,
                log: Vec::new(),
            });
            Some(Outcome::Failed { failure })
        }
    }
}

fn finish(id: &str, outcome: Outcome) -> Result<String, Error> {
    let deployment = id.to_owned();
    match outcome {
        Outcome::Deployed { url } => Ok(url),
        Outcome::Superseded { by } => Err(Error::Superseded { deployment, by: Some(by) }),
        Outcome::Deleted => Err(Error::DeletedMeanwhile { deployment }),
        Outcome::Failed { failure } => Err(match failure.kind {
            // Nothing is wrong with the project.
            FailureKind::Cancelled => Error::Cancelled { deployment, by_interrupt: false },
            FailureKind::Superseded => Error::Superseded { deployment, by: None },
            _ => Error::Failed { deployment, failure: Box::new(failure) },
        }),
    }
}

/// "fetching dependencies" is `Fetching`, "dependencies"; a message of another form stands behind its stage's name.
fn phrase(stage: Stage, message: &str) -> (String, &str) {
    let (first, rest) = message.split_once(' ').unwrap_or((message, ""));
    if first.ends_with("ing") && first.chars().all(|letter| letter.is_ascii_alphabetic()) {
        let rest = if rest.is_empty() && stage == Stage::Start { "the service" } else { rest };
        return (first[..1].to_uppercase() + &first[1..], rest);
    }
    let verb = match stage {
        Stage::Prepare => "Preparing",
        Stage::Fetch => "Fetching",
        Stage::Compile => "Compiling",
        Stage::Provision => "Providing",
        Stage::Start => "Starting",
        Stage::Probe => "Probing",
        Stage::Other => "Working",
    };
    (verb.to_owned(), message)
}

struct View<'a> {
    ui: &'a Ui,
    bar: Option<Bar>,
    /// The last step of compilation that was told in a line.
    step: Option<u32>,
    ahead: Option<u32>,
    reconnecting: bool,
}

impl View<'_> {
    fn event(&mut self, data: &str) -> Option<Outcome> {
        if std::mem::take(&mut self.reconnecting) {
            self.ui.status("Reconnected", "to the server");
        }
        // An event of a newer server that this one cannot read is no reason to give up on the deployment.
        match serde_json::from_str(data).unwrap_or(Event::Unknown) {
            Event::Position { ahead } => self.position(ahead),
            Event::State { state } => self.state(state),
            Event::Stage { stage, message } => self.stage(stage, &message),
            Event::Progress { done, total, unit } => self.progress(done, total, &unit),
            Event::Output { text } => self.ui.raw(&text),
            Event::Log { line } => self.ui.log(&line),
            Event::Finished { outcome } => return Some(outcome),
            Event::Unknown => {}
        }
        None
    }

    fn position(&mut self, ahead: u32) {
        if self.ahead.replace(ahead) == Some(ahead) {
            return;
        }
        match ahead {
            0 => {}
            1 => self.ui.status("Waiting", "for 1 deployment that is built before this one"),
            _ => self.ui.status("Waiting", &format!("for {ahead} deployments that are built before this one")),
        }
    }

    fn state(&mut self, state: State) {
        match state {
            State::Built => {
                self.clear();
                self.ui.status("Built", "the service");
            }
            State::Loaded => self.ui.status("Started", "the service"),
            State::Deployed => self.ui.status("Deployed", "the new version"),
            // The upload said the first; the outcome tells the others with their reasons.
            State::Queued | State::Error | State::Deleted => {}
        }
    }

    fn stage(&mut self, stage: Stage, message: &str) {
        if stage != Stage::Compile {
            self.clear();
        }
        let (verb, rest) = phrase(stage, message);
        // Compilation tells more of itself in a moment.
        if stage != Stage::Compile || !rest.is_empty() {
            self.ui.status(&verb, rest);
        }
    }

    fn progress(&mut self, done: u32, total: Option<u32>, unit: &str) {
        let length = total.unwrap_or(done).max(done);
        if self.ui.has_bars() {
            let bar = self.bar.get_or_insert_with(|| self.ui.compile(length.into()));
            bar.set(done.into(), length.into(), unit);
            return;
        }
        // The number of units is not known at first: then only the beginning is told.
        let step = total.map_or(0, |total| done * STEPS / total.max(1));
        if self.step.is_none_or(|told| told < step) {
            self.step = Some(step);
            let total = total.map_or_else(|| "?".to_owned(), |total| total.to_string());
            self.ui.status("Compiling", &format!("{done}/{total} steps: {unit}"));
        }
    }

    fn disconnected(&mut self) {
        self.clear();
        if !std::mem::replace(&mut self.reconnecting, true) {
            self.ui.status("Disconnected", "trying to reach the server again; the deployment goes on");
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_as_cargo_tells_its_own() {
        assert_eq!(phrase(Stage::Fetch, "fetching dependencies"), ("Fetching".to_owned(), "dependencies"));
        assert_eq!(phrase(Stage::Compile, "compiling"), ("Compiling".to_owned(), ""));
        assert_eq!(phrase(Stage::Start, "starting"), ("Starting".to_owned(), "the service"));
        assert_eq!(phrase(Stage::Provision, "2 databases"), ("Providing".to_owned(), "2 databases"));
        assert_eq!(phrase(Stage::Other, ""), ("Working".to_owned(), ""));
    }
}
