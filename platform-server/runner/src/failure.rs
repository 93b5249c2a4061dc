//! Why the runner cannot serve, in the words and with the stage that the server is told.

use std::fmt::Display;

use shuttle_abi::FailedStage;

/// Becomes a [`RunnerMessage::Failed`](shuttle_abi::RunnerMessage::Failed).
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: FailedStage,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(stage: FailedStage, message: impl Into<String>) -> Self {
        Self { stage, message: message.into() }
    }
}

/// Makes an error a [`Failure`].
pub(crate) trait Stage<T> {
    /// Says at which stage it happened, and with what.
    fn stage(self, stage: FailedStage, what: &str) -> Result<T, Failure>;
}

impl<T, E: Display> Stage<T> for Result<T, E> {
    fn stage(self, stage: FailedStage, what: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(stage, format!("{what}: {error}")))
    }
}
