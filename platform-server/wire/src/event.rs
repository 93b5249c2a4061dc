//! What a deployment's event stream says, in order.

use serde::{Deserialize, Serialize};

use crate::{Failure, LogLine, State};

/// One event. A client skips an event whose type it does not know ([`Event::Unknown`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// So many deployments are built before this one.
    Position { ahead: u32 },
    /// The deployment entered a state.
    State { state: State },
    /// Something within a state began: `message` is a short phrase such as "fetching dependencies".
    Stage { stage: Stage, message: String },
    /// Compilation: `done` of `total` units; `total` may be unknown at first. `unit` names the newest one.
    Progress { done: u32, total: Option<u32>, unit: String },
    /// A message of the compiler or of cargo, as cargo prints it in a terminal: ANSI colours, a newline at the end.
    Output { text: String },
    /// A line of the app's log while it starts.
    Log { line: LogLine },
    /// The last event.
    Finished { outcome: Outcome },
    #[serde(other)]
    Unknown,
}

/// Where the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Prepare,
    Fetch,
    Compile,
    Provision,
    Start,
    Probe,
    #[serde(other)]
    Other,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It serves at `url`.
    Deployed { url: String },
    /// A newer deployment of the project took its place.
    Superseded { by: String },
    /// It failed; what served before still serves.
    Failed { failure: Failure },
    /// The project was deleted meanwhile.
    Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_newer_server_is_read_as_unknown() {
        assert_eq!(serde_json::from_str::<Event>(r#"{"type":"confetti","colour":"red"}"#).unwrap(), Event::Unknown);
    }

    #[test]
    fn events_look_as_documented() {
        let event = Event::Finished { outcome: Outcome::Deployed { url: "http://a.localhost:8000".into() } };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"type":"finished","outcome":{"result":"deployed","url":"http://a.localhost:8000"}}"#
        );
    }
}
