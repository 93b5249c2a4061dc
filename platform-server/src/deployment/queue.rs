//! Which deployment is built next, and how many at a time.
//!
//! One task owns the queue; everything that changes it is a message to that task, so no wake-up can be lost. The
//! database is what survives: a server that starts puts every `Queued` deployment in again.

use std::{future::Future, sync::Arc};

use platform_wire::Event;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{EventStore, Queued, policy};

/// Puts deployments into the queue. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Message>,
    length: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Debug)]
enum Message {
    Waiting(Box<Queued>),
    /// The build of this project's deployment is over.
    Done(i64),
}

/// The receiving side, to be run by one task.
#[derive(Debug)]
pub(crate) struct QueueTask {
    receiver: mpsc::UnboundedReceiver<Message>,
    sender: mpsc::UnboundedSender<Message>,
    length: Arc<std::sync::atomic::AtomicUsize>,
}

/// A queue and the task that serves it. The channel is not bounded; the number of waiting deployments is, where they
/// are accepted.
pub(crate) fn queue() -> (Queue, QueueTask) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let length = Arc::default();
    (Queue { sender: sender.clone(), length: Arc::clone(&length) }, QueueTask { receiver, sender, length })
}

impl Queue {
    pub(crate) fn push(&self, queued: Queued) {
        self.length.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Refused only when the server stops; the database remembers.
        let _ = self.sender.send(Message::Waiting(Box::new(queued)));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.length.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl QueueTask {
    /// Starts builds until `stop`, at most `builds` at a time and one for each project; then waits for those under way.
    /// Of one project's, only the newest waits; those that it takes the place of are given to `supersede`. One that `stays` is built
    /// all the same.
    pub(crate) async fn run<B, S>(
        mut self,
        builds: usize,
        events: EventStore,
        stop: CancellationToken,
        build: impl Fn(Queued) -> B,
        supersede: impl Fn(Queued, String) -> S,
        stays: impl Fn(&Queued) -> bool,
    ) where
        B: Future<Output = ()> + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (mut waiting, mut building) = (Vec::<Queued>::new(), Vec::<i64>::new());
        let mut told = Vec::<(String, u32)>::new();
        let tasks = TaskTracker::new();
        loop {
            while building.len() < builds {
                let ages: Vec<_> = waiting.iter().map(|queued| (queued.meta.seq, queued.meta.project_id)).collect();
                let Some(at) = policy::next_to_build(&ages, &building) else { break };
                let queued = waiting.remove(at);
                let project = queued.meta.project_id;
                building.push(project);
                let (work, done) = (build(queued), DoneGuard { sender: self.sender.clone(), project });
                tasks.spawn(async move {
                    let _done = done;
                    work.await;
                });
            }
            self.length.store(waiting.len(), std::sync::atomic::Ordering::Relaxed);
            tell_positions(&events, &waiting, building.len(), &mut told);
            tokio::select! {
                () = stop.cancelled() => break,
                message = self.receiver.recv() => match message {
                    Some(Message::Waiting(queued)) => {
                        let (project, seq) = (queued.meta.project_id, queued.meta.seq);
                        let gives_way = |other: &mut Queued| other.meta.project_id == project && other.meta.seq < seq && !stays(other);
                        for older in waiting.extract_if(.., gives_way) {
                            tasks.spawn(supersede(older, queued.meta.id.clone()));
                        }
                        waiting.push(*queued);
                    }
                    Some(Message::Done(project)) => building.retain(|busy| *busy != project),
                    None => break,
                },
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// Says that a build is over, also when it panics.
struct DoneGuard {
    sender: mpsc::UnboundedSender<Message>,
    project: i64,
}

impl Drop for DoneGuard {
    fn drop(&mut self) {
        let _ = self.sender.send(Message::Done(self.project));
    }
}

/// Tells each waiting deployment how many are before it, when that has changed.
fn tell_positions(events: &EventStore, waiting: &[Queued], building: usize, told: &mut Vec<(String, u32)>) {
    let now: Vec<(String, u32)> = waiting
        .iter()
        .enumerate()
        .map(|(at, queued)| (queued.meta.id.clone(), u32::try_from(at + building).unwrap_or(u32::MAX)))
        .collect();
    for position in now.iter().filter(|position| !told.contains(position)) {
        events.append(&position.0, &Event::Position { ahead: position.1 });
    }
    *told = now;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::state::tests::meta;

    #[tokio::test]
    async fn a_newer_deployment_takes_the_place_of_those_that_wait_but_not_of_what_served() {
        let folder = tempfile::tempdir().unwrap();
        let events = EventStore::new(folder.path()).unwrap();
        let (queue, task) = queue();
        let (stop, first_may_end) = (CancellationToken::new(), CancellationToken::new());
        let (told, mut order) = mpsc::unbounded_channel();
        let built = told.clone();
        let build = {
            let first_may_end = first_may_end.clone();
            move |queued: Queued| {
                let (built, first_may_end) = (built.clone(), first_may_end.clone());
                async move {
                    if queued.meta.project_id == 1 {
                        first_may_end.cancelled().await;
                    }
                    built.send(("built", queued.meta.seq)).unwrap();
                }
            }
        };
        let supersede = move |queued: Queued, _by| {
            let told = told.clone();
            async move { told.send(("superseded", queued.meta.seq)).unwrap() }
        };
        let running = tokio::spawn(task.run(1, events, stop.clone(), build, supersede, |queued| queued.meta.seq == 2));
        for (seq, project) in [(1, 1), (2, 7), (3, 7), (4, 7)] {
            queue.push(Queued { meta: meta(seq, project) });
        }
        assert_eq!(order.recv().await, Some(("superseded", 3)));
        first_may_end.cancel();
        for seq in [1, 2, 4] {
            assert_eq!(order.recv().await, Some(("built", seq)));
        }
        stop.cancel();
        running.await.unwrap();
    }
}
