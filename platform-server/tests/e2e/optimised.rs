//! The two builds of a deployment: live from the fast one, then from the optimised one that is made while nobody waits.
//!
//! The app answers with the build that it is from: only a fast one is told to be incremental, which a build script sees.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use reqwest::Method;
use serde_json::Value;

use crate::{
    app::App,
    platform::{PATIENCE, PAUSE, Platform, text},
};

const NAME: &str = "hello-axum";

/// Tells the crate which build it is in; where one is optimised, does what the file `trouble` says.
const BUILD_SCRIPT: &str = r#"fn main() {
    println!("cargo::rerun-if-changed=trouble");
    let incremental = ["CARGO_PROFILE_RELEASE_INCREMENTAL", "CARGO_PROFILE_DIST_INCREMENTAL"].map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var_os(name).is_some()
    });
    let build = if incremental.contains(&true) { "fast" } else { "optimised" };
    println!("cargo::rustc-env=BUILD={build}");
    let trouble = std::fs::read_to_string("trouble").unwrap_or_default();
    println!("cargo::rustc-env=TROUBLE={trouble}");
    match trouble.as_str() {
        "endless" if build == "optimised" => loop { std::thread::sleep(std::time::Duration::MAX) },
        "broken" if build == "optimised" => panic!("no luck"),
        _ => {}
    }
}
"#;

const SOURCE: &str = r#"#[shuttle_service::main]
async fn app() -> shuttle_service::ShuttleAxum {
    assert!((env!("BUILD"), env!("TROUBLE")) != ("optimised", "no start"), "it does not start");
    let answer = format!("{} one {}", env!("BUILD"), cfg!(debug_assertions));
    let crash = || async { std::process::abort(); #[allow(unreachable_code)] "" };
    let router = axum::Router::new().route("/", axum::routing::get(|| async { answer }));
    Ok(router.route("/crash", axum::routing::get(crash)))
}
"#;

struct Two {
    platform: Arc<Platform>,
    app: App,
}

impl Two {
    fn shuttle(&self, arguments: &[&str], status: i32) -> String {
        let output = self.platform.shuttle(self.app.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}\n{}", text(&output), self.platform.server_log());
        text(&output)
    }

    fn deploy(&self, arguments: &[&str]) -> String {
        self.shuttle(&[&["deploy", "--allow-dirty"], arguments].concat(), 0)
    }

    /// What is said of the builds: the one that serves, and how far the optimised one is.
    async fn builds(&self) -> (String, String) {
        let project = self.platform.api(Method::GET, &format!("/projects/{NAME}")).send().await.unwrap();
        let project: Value = serde_json::from_str(&project.text().await.unwrap()).unwrap();
        let said = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        (said(&project["serving"]["build"]), said(&project["serving"]["optimised"]["state"]))
    }

    async fn until_builds_are(&self, serving: &str, optimised: &str) {
        let begun = Instant::now();
        loop {
            let builds = self.builds().await;
            if builds == (serving.to_owned(), optimised.to_owned()) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE * 3, "{builds:?}\n{}", self.platform.server_log());
            // The compiler is at the lowest priority.
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn answer(&self) -> String {
        self.platform.get(NAME, "/").await.1
    }

    fn trouble(&self, trouble: &str) {
        fs::write(self.app.file("trouble"), trouble).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_optimised_build_follows_the_fast_one_and_takes_over() {
    let app = App::copy_of(NAME);
    fs::write(app.file("build.rs"), BUILD_SCRIPT).unwrap();
    app.write(SOURCE);
    let mut two = Two { platform: Arc::new(Platform::start(&["--optimise-after", "1", "--max-restart-delay", "1"])), app };
    assert!(two.deploy(&[]).contains("an optimised build follows"));
    assert_eq!(two.answer().await, "fast one false");
    the_same_again_is_no_deployment(&two);

    two.until_builds_are("fast", "ready").await;
    // Of both builds: 100 such apps and what they share stay below 4 GB.
    let bytes = two.platform.own_build_bytes(NAME).await;
    assert!(bytes.is_none_or(|bytes| bytes < 36_000_000), "{bytes:?}");
    assert_eq!(two.answer().await, "fast one false");
    restarted_without_a_gap(&two).await;
    assert_eq!((two.answer().await.as_str(), two.builds().await.0.as_str()), ("optimised one false", "optimised"));
    // Whatever is started from now on is the optimised one.
    Arc::get_mut(&mut two.platform).unwrap().kill_and_start_again();
    two.platform.get_until(NAME, "/", |status, body| (status, body) == (200, "optimised one false")).await;

    a_deployment_ends_the_optimised_build(&two).await;
    an_optimised_build_that_fails_changes_nothing(&two).await;
    an_optimised_build_that_does_not_start_is_given_up(&two).await;
    another_profile_is_built_in_each_way(&two).await;
}

fn the_same_again_is_no_deployment(two: &Two) {
    let ids = || -> Vec<Value> {
        let output = two.platform.shuttle(two.app.path(), &["deployment", "list", "--output", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert!(two.deploy(&[]).contains("Unchanged"));
    // New secrets are a change, the same once more are none; nor is what another way of building would be.
    let secrets = two.app.file("Secrets.toml");
    fs::write(&secrets, "A = \"1\"\n").unwrap();
    for (arguments, unchanged, deployments) in [
        (&[][..], false, 2),
        (&[], true, 2),
        (&["--build", "fast"], false, 3),
        (&["--build", "fast"], true, 3),
        (&[], false, 4),
        (&["--force"], false, 5),
    ] {
        let said = two.deploy(arguments);
        assert_eq!((said.contains("Unchanged"), ids().len()), (unchanged, deployments), "{arguments:?}: {said}");
    }
}

async fn restarted_without_a_gap(two: &Two) {
    let (over, platform) = (Arc::new(AtomicBool::new(false)), Arc::clone(&two.platform));
    let asking = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(platform.get(NAME, "/").await);
            }
            answers
        })
    };
    let said = tokio::task::block_in_place(|| two.shuttle(&["restart"], 0));
    over.store(true, Ordering::Relaxed);
    assert!(said.contains("from the optimised build"), "{said}");
    let answers = asking.await.unwrap();
    assert!(answers.iter().all(|(status, body)| *status == 200 && body.ends_with("one false")), "{answers:?}");
}

async fn a_deployment_ends_the_optimised_build(two: &Two) {
    two.trouble("endless");
    two.deploy(&[]);
    crate::builds::until_a_build_script_runs(&two.platform).await;
    two.trouble("");
    two.app.write(&SOURCE.replace(" one ", " two "));
    two.deploy(&[]);
    assert_eq!(two.answer().await, "fast two false");
    two.until_builds_are("fast", "ready").await;
    two.shuttle(&["restart"], 0);
    assert_eq!(two.answer().await, "optimised two false");
    // cargo does not take what the other build left for its own.
    two.deploy(&["--force"]);
    assert_eq!(two.answer().await, "fast two false");
}

async fn an_optimised_build_that_fails_changes_nothing(two: &Two) {
    two.trouble("broken");
    two.deploy(&[]);
    two.until_builds_are("fast", "failed").await;
    assert!(two.shuttle(&["status"], 0).contains("there is no optimised one: the build failed"));
    assert!(two.shuttle(&["restart"], 0).contains("from the fast build"));
    assert_eq!(two.answer().await, "fast two false");
}

async fn an_optimised_build_that_does_not_start_is_given_up(two: &Two) {
    two.trouble("no start");
    two.deploy(&[]);
    two.until_builds_are("fast", "ready").await;
    // Whether it is started anew by itself or by request.
    assert_eq!(two.platform.get(NAME, "/crash").await.0, 502);
    two.until_builds_are("fast", "failed").await;
    two.platform.get_until(NAME, "/", |status, body| (status, body) == (200, "fast two false")).await;
    assert!(two.shuttle(&["restart"], 0).contains("from the fast build: there is no optimised one"));
    assert!(two.shuttle(&["status"], 0).contains("there is no optimised one: it does not start"));
    assert!(two.shuttle(&["logs"], 0).contains("the optimised build does not start, so the fast one serves"));
    assert_eq!(two.answer().await, "fast two false");
}

/// A profile of those that make a program small: nothing that the platform looks for in an artifact may be lost.
const PROFILE: &str = "
[profile.dist]
inherits = \"release\"
lto = true
codegen-units = 1
panic = \"abort\"
strip = true
debug-assertions = true
";

async fn another_profile_is_built_in_each_way(two: &Two) {
    two.trouble("");
    let manifest = fs::read_to_string(two.app.file("Cargo.toml")).unwrap();
    fs::write(two.app.file("Cargo.toml"), format!("{manifest}{PROFILE}")).unwrap();
    fs::write(two.app.file("Shuttle.toml"), "[build]\nprofile = \"dist\"\n").unwrap();
    two.deploy(&[]);
    assert_eq!(two.answer().await, "fast two true");
    two.until_builds_are("fast", "ready").await;
    two.shuttle(&["restart"], 0);
    assert_eq!(two.answer().await, "optimised two true");

    fs::write(two.app.file("Shuttle.toml"), "[build]\nprofile = \"dist\"\nmode = \"optimised\"\n").unwrap();
    two.deploy(&[]);
    assert_eq!(two.answer().await, "optimised two true");
    assert_eq!(two.builds().await, ("optimised".to_owned(), "none".to_owned()));
}
