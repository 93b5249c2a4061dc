//! Ctrl-C while a deployment is followed: it goes on without this command, unless somebody is there who wants it cancelled.

use std::{io, pin::pin, thread, time::Duration};

use platform_wire::ErrorCode;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::watch;
use crate::{
    client::{Client, ClientError},
    error::{Error, Following},
    ui::Ui,
};

/// Follows a deployment to its end; its URL, if it ends well.
pub(super) async fn follow(client: &Client, id: &str, patience: Duration, ui: &Ui) -> Result<String, Error> {
    let mut interrupts =
        signal(SignalKind::interrupt()).map_err(|source| Error::Io { what: "cannot listen for Ctrl-C", source })?;
    let mut following = pin!(watch::until_finished(client, id, patience, ui));
    loop {
        tokio::select! {
            result = &mut following => return result,
            _ = interrupts.recv() => {}
        }
        // What the server says meanwhile waits, and so does not disturb the question.
        match end(client, id, &mut interrupts, ui).await {
            End::Left => return Err(Error::Interrupted { what: Following::Deployment(id.to_owned()) }),
            End::Cancelled => return Err(Error::Cancelled { deployment: id.to_owned(), by_interrupt: true }),
            // How it ended is what the stream says next.
            End::TooLate => ui.warning("it is too late to cancel it: it has ended"),
        }
    }
}

enum End {
    Left,
    Cancelled,
    TooLate,
}

/// Cancels, if that is wanted. A further Ctrl-C leaves the deployment.
async fn end(client: &Client, id: &str, interrupts: &mut Signal, ui: &Ui) -> End {
    if !ui.can_ask() {
        return End::Left;
    }
    let cancelled = async { if wants_to_cancel(ui).await { Some(client.cancel(id).await) } else { None } };
    let answer = tokio::select! {
        answer = cancelled => answer,
        _ = interrupts.recv() => {
            // The terminal shows `^C` behind the question.
            ui.raw("\n");
            None
        }
    };
    match answer {
        None => End::Left,
        Some(Ok(_)) => End::Cancelled,
        Some(Err(ClientError::Refused { error, .. })) if error.code == ErrorCode::Conflict => End::TooLate,
        Some(Err(error)) => {
            ui.warning(&format!("it could not be cancelled: {error}"));
            End::Left
        }
    }
}

async fn wants_to_cancel(ui: &Ui) -> bool {
    let (answered, answer) = oneshot::channel();
    let ui = ui.clone();
    // A thread of its own: the runtime would wait at its end for one of its own that still reads.
    thread::spawn(move || answered.send(ui.ask("\ncancel the deployment? [y/N] ")));
    answer.await.is_ok_and(|answer| is_wanted(&answer))
}

/// Whatever is no yes leaves the deployment: the end of stdin, an error, another word.
fn is_wanted(answer: &io::Result<Option<String>>) -> bool {
    matches!(answer, Ok(Some(word)) if is_yes(word))
}

pub(super) fn is_yes(word: &str) -> bool {
    ["y", "yes"].contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        let is_yes = |word: &str| is_wanted(&Ok(Some(word.to_owned())));
        assert!(["y", "Y", "yes", "Yes"].into_iter().all(is_yes));
        assert!(!["", "n", "no", "yy", "what"].into_iter().any(is_yes));
        assert!(!is_wanted(&Ok(None)));
        assert!(!is_wanted(&Err(io::Error::other("gone"))));
    }
}
