//! Every example, deployed as it stands, does what its README says; data outlives deletion, crash and restart.

use std::time::Instant;

use reqwest::Method;

use crate::{
    app::App,
    platform::{PATIENCE, PAUSE, Platform, repository, text},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_does_what_it_says_and_keeps_its_data() {
    let mut platform = Platform::start(&[]);
    let examples = ["hello-rocket", "seed", "visit-counter", "url-shortener"];
    for example in examples {
        platform.deploy(&repository().join("examples").join(example));
        let (status, body) = platform.get(example, "/").await;
        assert_eq!(status, 200, "{example}: {body}");
        assert!(body.contains("curl") || body.contains("/"), "{example} says what to try: {body}");
    }
    the_platform_says_nothing_in_an_apps_log(&platform).await;
    assert_eq!(platform.get("seed", "/hello").await, (200, "Hello, world!".to_owned()));

    let short = shorten(&platform).await;
    let count = visits(&platform).await;
    assert_eq!(visits(&platform).await, count + 1);

    platform.kill_and_start_again();
    for example in examples {
        assert_eq!(platform.get(example, "/").await.0, 200, "{example} after the server was killed");
    }
    follows(&platform, &short).await;
    assert!(visits(&platform).await > count, "Redis keeps what it was told");

    // Its databases are started again when they die, and the apps find them again.
    for program in ["postgres", redis_program()] {
        platform.kill_program(program);
    }
    platform.get_until("url-shortener", &short, |status, _| status / 100 == 3).await;
    platform.get_until("visit-counter", "/", |status, _| status == 200).await;

    let app = App::copy_of("url-shortener");
    let deleted = platform.shuttle(app.path(), &["delete", "--yes"]);
    assert!(deleted.status.success(), "{}", text(&deleted));
    assert!(text(&deleted).contains("postgres"), "it says what is kept: {}", text(&deleted));
    assert_eq!(platform.get("url-shortener", "/").await.0, 404);
    platform.stop_and_start_again();
    assert_eq!(platform.get("url-shortener", "/").await.0, 404, "deleted stays deleted");
    platform.deploy(app.path());
    follows(&platform, &short).await;
}

/// Rocket has a line for each request that it has no route for; the only one is ours.
async fn the_platform_says_nothing_in_an_apps_log(platform: &Platform) {
    assert_eq!(platform.get("hello-rocket", "/nothing-here").await.0, 404);
    let begun = Instant::now();
    loop {
        let logs = platform.api(Method::GET, "/projects/hello-rocket/logs").send().await.unwrap().text().await.unwrap();
        if logs.contains("No matching routes for GET /nothing-here") {
            assert_eq!(logs.matches("No matching routes").count(), 1, "{logs}");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{logs}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Which of the two is installed; the platform prefers the first.
fn redis_program() -> &'static str {
    let names = ["redis-server", "valkey-server"];
    names
        .into_iter()
        .find(|name| std::path::Path::new("/usr/bin").join(name).exists())
        .expect("neither Redis nor Valkey is installed")
}

async fn shorten(platform: &Platform) -> String {
    let response = platform.request(Method::POST, "url-shortener", "/").body("https://www.rust-lang.org/").send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    let url = response.text().await.unwrap();
    let path = url.trim().rsplit('/').next().unwrap().to_owned();
    let short = format!("/{path}");
    follows(platform, &short).await;
    short
}

async fn follows(platform: &Platform, short: &str) {
    let response = platform.request(Method::GET, "url-shortener", short).send().await.unwrap();
    assert!(response.status().is_redirection(), "{short}: {}", response.status());
    assert_eq!(response.headers()["location"], "https://www.rust-lang.org/");
}

/// Counts one visit more, and says how many there were.
async fn visits(platform: &Platform) -> u64 {
    let (_, body) = platform.get("visit-counter", "/").await;
    let digits: String = body.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number of visits in: {body}"))
}
