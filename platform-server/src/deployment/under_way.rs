//! Deployments that somebody drives, and how to stop that.

use std::{collections::HashMap, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The ids of deployments that are not at rest, each with what ends the work on it.
#[derive(Debug)]
pub(crate) struct UnderWay {
    stop: CancellationToken,
    tokens: watch::Sender<HashMap<String, CancellationToken>>,
}

impl UnderWay {
    /// `stop` ends everything.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop, tokens: watch::Sender::default() }
    }

    /// Enters it, unless that has been done.
    pub(super) fn begin(&self, id: &str) -> CancellationToken {
        let mut token = None;
        self.tokens.send_modify(|tokens| {
            token = Some(tokens.entry(id.to_owned()).or_insert_with(|| self.stop.child_token()).clone());
        });
        token.unwrap_or_default()
    }

    /// Takes it out. There is one who is given the token: the one who tells the end.
    pub(super) fn end(&self, id: &str) -> Option<CancellationToken> {
        let mut token = None;
        self.tokens.send_if_modified(|tokens| {
            token = tokens.remove(id);
            token.is_some()
        });
        token
    }

    pub(super) fn token(&self, id: &str) -> Option<CancellationToken> {
        self.tokens.borrow().get(id).cloned()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.tokens.borrow().contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.borrow().is_empty()
    }

    /// Waits until there has been nothing for so long.
    pub(super) async fn quiet(&self, long: Duration) {
        let mut changes = self.tokens.subscribe();
        loop {
            // The sender is here as long as `self` is.
            let _ = changes.wait_for(HashMap::is_empty).await;
            if tokio::time::timeout(long, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Waits for the next deployment that begins or ends.
    pub(super) async fn changed(&self) {
        let _ = self.tokens.subscribe().changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_quiet_when_nothing_has_been_under_way_for_so_long() {
        let under_way = UnderWay::new(CancellationToken::new());
        let token = under_way.begin("a");
        assert!(under_way.token("a").is_some() && under_way.has("a") && !under_way.is_empty());
        let mut quiet = std::pin::pin!(under_way.quiet(Duration::ZERO));
        let mut long = std::pin::pin!(under_way.quiet(Duration::MAX));
        assert!(futures_util::poll!(&mut quiet).is_pending());
        assert!(under_way.end("a").is_some() && under_way.end("a").is_none());
        quiet.await;
        assert!(futures_util::poll!(&mut long).is_pending());
        under_way.begin("b");
        under_way.stop.cancel();
        assert!(token.is_cancelled() && under_way.token("b").is_some_and(|token| token.is_cancelled()));
    }
}
