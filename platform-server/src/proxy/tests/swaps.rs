//! The promise of a deployment: a route changes under load, and nobody notices.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::support::{TestApp, TestProxy, until};

const CLIENTS: usize = 8;
const SWAPS: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_while_instances_take_turns() {
    let proxy = Arc::new(TestProxy::start().await);
    let mut app = TestApp::saying("hello");
    let mut old = proxy.route_to(&app);
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (proxy, done, answered) = (proxy.clone(), done.clone(), answered.clone());
            tokio::spawn(async move {
                let mut client = proxy.connect().await;
                while !done.load(Ordering::Relaxed) {
                    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
                    let answer = client.answer().await;
                    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..SWAPS {
        // Each instance answers some requests before the next one takes its place.
        let before = answered.load(Ordering::Relaxed);
        let enough = || answered.load(Ordering::Relaxed) >= before + 2 * CLIENTS;
        until("too few requests are answered", || enough() || clients.iter().any(|client| client.is_finished())).await;
        let new = TestApp::saying("hello");
        let target = proxy.route_to(&new);
        old.drained().await;
        // From here on the old socket is gone: a request that came late would fail.
        (app, old) = (new, target);
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    drop(app);
}
