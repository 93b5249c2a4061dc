//! What the command tells a newcomer to write, done to the letter and compiled: with the dependencies and the target folder of
//! the runner's fixtures, so that nothing is compiled for this but the few lines themselves.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Project, Shuttle};

/// As the fixtures have it, so that it is compiled already.
const AXUM: &str = "axum = { version = \"0.8\", default-features = false, features = [\"http1\", \"tokio\"] }\n";
const TOKIO: &str = "tokio = { version = \"1\", features = [\"fs\", \"io-util\", \"macros\", \"net\", \"rt-multi-thread\", \"sync\", \"time\"] }\n";

fn manifest(name: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n[workspace]\n"
    )
}

/// A library of this name that has no function yet.
fn library(name: &str, dependencies: &str) -> Project {
    let project = Project::empty();
    project.write("app/Cargo.toml", &manifest(name, dependencies)).write("app/src/lib.rs", "");
    project
}

/// A program.
fn program(name: &str, dependencies: &str, main: &str) -> Project {
    let project = Project::empty();
    project.write("app/Cargo.toml", &manifest(name, dependencies)).write("app/src/main.rs", main);
    project
}

/// What the command says to this project.
#[track_caller]
fn hint(project: &Project, message: &str) -> String {
    let run = Shuttle::bare(project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(3);
    let error = &run.json()["error"];
    assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    error["hint"].as_str().unwrap().to_owned()
}

/// Does as it is told, and has cargo build it.
#[track_caller]
fn follow(project: &Project, hint: &str) {
    apply(project.app(), hint);
    build(project, hint);
}

#[track_caller]
fn build(project: &Project, hint: &str) {
    let source = ["app/src/lib.rs", "app/src/main.rs"].into_iter().find(|file| project.root().join(file).exists()).unwrap();
    let has = |file: &str, text: &str| assert!(project.read(file).contains(text), "no {text} in {file} after the hint\n{hint}");
    has(source, "#[shuttle_service::main]");
    has("app/Cargo.toml", "shuttle-service");
    has("app/Cargo.toml", "features = [");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = here.with_file_name("platform-server").join("runner/tests/fixtures/Cargo.lock");
    fs::copy(lock, project.app().join("Cargo.lock")).unwrap();
    let target: &[&str] = if project.app().join("src/lib.rs").exists() { &["--lib"] } else { &["--bins"] };
    let built = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures"))
        .args(target)
        // Types and lifetimes are checked; nothing is linked.
        .args(["--", "--emit=metadata"])
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(project.app())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}\nafter the hint\n{hint}\nin {}", project.read("app/Cargo.toml"));
}

/// Writes what the hint says, where it says.
#[track_caller]
fn apply(folder: &Path, hint: &str) {
    let mut hunks: BTreeMap<PathBuf, Vec<(usize, bool, String)>> = BTreeMap::new();
    let mut lines = hint.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_prefix("and ").unwrap_or(line);
        let mut block = || {
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("    ") || line.is_empty()) {
                text.push_str(line.strip_prefix("    ").unwrap_or(line));
                text.push('\n');
            }
            text
        };
        if let Some(file) = line.strip_prefix("add to [dependencies] in ") {
            let file = folder.join(file.replace("its ", ""));
            let text = fs::read_to_string(&file).unwrap();
            fs::write(&file, text.replacen("[dependencies]\n", &format!("[dependencies]\n{}", block()), 1)).unwrap();
        } else if let Some(file) = line.strip_prefix("write in ") {
            let (file, place) = file.split_once(", in place of ").map_or((file, None), |(file, place)| (file, Some(place)));
            let file = folder.join(file);
            let before = fs::read_to_string(&file).unwrap_or_default();
            // These tests' programs have nothing but a `main`.
            let kept = if place.is_some() { String::new() } else { before };
            fs::write(&file, format!("{}\n{kept}", block())).unwrap();
        } else if let Some(file) = line.strip_prefix("in ") {
            let changes = hunks.entry(folder.join(file)).or_default();
            while let Some(line) = lines.next_if(|line| line.len() > 7 && [" - ", " + "].contains(&&line[5..8])) {
                changes.push((line[..5].trim().parse().unwrap(), &line[5..8] == " + ", line[8..].to_owned()));
            }
        }
    }
    for (file, changes) in hunks {
        let text = fs::read_to_string(&file).unwrap();
        let mut out = String::new();
        for (index, line) in text.lines().enumerate() {
            let here = |comes: bool| changes.iter().filter(move |(number, is_new, _)| *number == index + 1 && *is_new == comes);
            here(true).for_each(|(_, _, new)| out.push_str(&format!("{new}\n")));
            match here(false).next() {
                Some((_, _, old)) => assert_eq!(old, line, "line {} of {}", index + 1, file.display()),
                None => out.push_str(&format!("{line}\n")),
            }
        }
        fs::write(file, out).unwrap();
    }
}

/// The very beginning: what cargo makes.
#[test]
fn a_new_package() {
    for (name, kind) in [("hint-new-lib", "--lib"), ("hint-new-bin", "--bin")] {
        let project = Project::empty();
        let made = Command::new(env!("CARGO"))
            .args(["new", "--quiet", "--vcs", "none", "--name", name, kind, "new"])
            .current_dir(project.root())
            .status()
            .unwrap();
        assert!(made.success());
        let project = project.at("new");
        let told = hint(&project, "does not depend on shuttle-service");
        apply(project.app(), &told);
        let manifest = project.read("new/Cargo.toml");
        assert!(manifest.contains("axum = \"0.8\"") && manifest.contains("features = [\"axum\"]"), "{manifest}");
        fs::write(project.app().join("Cargo.toml"), manifest + "\n[workspace]\n").unwrap();
        let lib = project.app().join("src/lib.rs").exists();
        assert_eq!(lib, kind == "--lib");
        compile_in(&project, &told);
    }
}

#[track_caller]
fn compile_in(project: &Project, hint: &str) {
    let folder = Project::empty();
    for file in ["Cargo.toml", "src/lib.rs", "src/main.rs"] {
        if let Ok(text) = fs::read_to_string(project.app().join(file)) {
            folder.write(&format!("app/{file}"), &text);
        }
    }
    build(&folder, hint);
}

#[test]
fn each_framework_is_told_its_own_lines() {
    for (name, dependency, feature) in [
        ("axum-0-7", "axum = { version = \"0.7\", default-features = false, features = [\"http1\", \"tokio\"] }", "axum-0-7"),
        ("rocket", "rocket = { version = \"0.5\", default-features = false }", "rocket"),
        ("actix-web", "actix-web = { version = \"4\", default-features = false, features = [\"macros\"] }", "actix-web"),
        ("poem", "poem = { version = \"3\", default-features = false, features = [\"server\"] }", "poem"),
        ("warp", "warp = { version = \"0.4\", default-features = false }", "warp"),
        ("salvo", "salvo = { version = \"1\", default-features = false, features = [\"http1\", \"server\"] }", "salvo"),
        ("tide", "tide = { version = \"0.16\", default-features = false }", "tide"),
        ("thruster", "thruster = { version = \"1.3\", features = [\"hyper_server\"] }", "thruster"),
    ] {
        let project = library(&format!("hint-{name}"), &format!("{dependency}\n"));
        let told = hint(&project, "does not depend on shuttle-service");
        assert!(!told.contains("axum = \""), "{told}");
        follow(&project, &told);
        assert!(project.read("app/Cargo.toml").contains(&format!("features = [{feature:?}]")), "{told}");
    }
}

#[test]
fn a_version_that_is_not_served_is_named() {
    let project = library("hint-old", "rocket = \"0.4\"\n");
    let told = hint(&project, "does not depend on");
    assert!(told.starts_with("rocket 0.4 is not served, rocket 0.5 is: change that dependency too"), "{told}");
    assert!(told.contains("rocket = \"0.5\"") && told.contains("ShuttleRocket"), "{told}");
}

/// An app of 2025, as Shuttle's own templates had it.
#[test]
fn an_app_of_shuttle_runtime_moves_over() {
    let main = r#"use axum::{Router, routing::get};
use shuttle_runtime::SecretStore;
use sqlx::PgPool;

async fn hello_world() -> &'static str {
    "Hello, world!"
}

#[shuttle_runtime::main]
async fn main(
    #[shuttle_shared_db::Postgres] pool: PgPool,
    #[shuttle_runtime::Secrets] secrets: SecretStore,
) -> shuttle_axum::ShuttleAxum {
    let _greeting = secrets.get("GREETING");
    let router = Router::new().route("/", get(hello_world)).with_state(pool);

    Ok(router.into())
}
"#;
    let dependencies = [
        AXUM,
        "shuttle-axum = \"0.57.0\"\nshuttle-runtime = \"0.57.0\"\n",
        "shuttle-shared-db = { version = \"0.57.0\", features = [\"postgres\", \"sqlx\"] }\n",
        "sqlx = { version = \"0.8\", default-features = false, features = [\"postgres\", \"runtime-tokio\"] }\n",
        TOKIO,
    ];
    let project = program("hint-runtime", &dependencies.concat(), main);
    let told = hint(&project, "shuttle-shared-db: a parameter of the client's type is a database");
    follow(&project, &told);
    let manifest = project.read("app/Cargo.toml");
    assert!(!manifest.contains("shuttle-axum") && manifest.contains("features = [\"axum\", \"sqlx-0-8\"]"), "{manifest}");
    assert!(!told.contains("hello_world"), "what stays is not told: {told}");
}

/// One of 2022.
#[test]
fn an_app_of_the_registrys_shuttle_service_moves_over() {
    let dependencies = "rocket = { version = \"0.5\", default-features = false }\n\n[dependencies.shuttle-service]\nversion = \"0.7\"\nfeatures = [\"web-rocket\"]\n";
    let project = library("hint-2022", dependencies);
    project.write(
        "app/src/lib.rs",
        "#[shuttle_service::main]\nasync fn rocket() -> shuttle_service::ShuttleRocket {\n    Ok(rocket::build())\n}\n",
    );
    follow(&project, &hint(&project, "from a registry"));
}

#[test]
fn a_program_that_serves_by_itself_moves_over() {
    let main = "use axum::{Router, routing::get};\n\n#[tokio::main]\nasync fn main() {\n    let app = Router::new().route(\"/\", get(|| async { \"Hello, World!\" }));\n\n    let listener = tokio::net::TcpListener::bind(\"0.0.0.0:3000\").await.unwrap();\n    println!(\"listening on {}\", listener.local_addr().unwrap());\n    axum::serve(listener, app).await.unwrap();\n}\n";
    let project = program("hint-tokio", &[AXUM, TOKIO].concat(), main);
    follow(&project, &hint(&project, "does not depend on shuttle-service"));

    let main = "use rocket::{get, launch, routes};\n\n#[get(\"/\")]\nfn index() -> &'static str {\n    \"Hello, world!\"\n}\n\n#[launch]\nfn rocket() -> _ {\n    rocket::build().mount(\"/\", routes![index])\n}\n";
    let project = program("hint-launch", "rocket = { version = \"0.5\", default-features = false }\n", main);
    let told = hint(&project, "does not depend on shuttle-service");
    apply(project.app(), &told);
    assert!(project.read("app/src/main.rs").contains("async fn rocket() -> shuttle_service::ShuttleRocket {"), "{told}");
    // The import is of no use any more, which is a warning.
    build(&project, &told);
}

/// The same of the other frameworks, as their own first pages have it.
#[test]
fn a_program_of_each_framework_moves_over() {
    for (name, dependency, main) in [
        (
            "rocket",
            "rocket = { version = \"0.5\", default-features = false }\n",
            "#[rocket::main]\nasync fn main() -> Result<(), rocket::Error> {\n    let _rocket = rocket::build().launch().await?;\n    Ok(())\n}\n",
        ),
        (
            "tide",
            "tide = { version = \"0.16\", default-features = false }\n",
            "#[async_std::main]\nasync fn main() -> tide::Result<()> {\n    let mut app = tide::new();\n    app.at(\"/\").get(|_| async { Ok(\"Hello, world!\") });\n    app.listen(\"127.0.0.1:8080\").await?;\n    Ok(())\n}\n",
        ),
        (
            "warp",
            "warp = { version = \"0.4\", default-features = false, features = [\"server\"] }\n",
            "use warp::Filter;\n\n#[tokio::main]\nasync fn main() {\n    let hello = warp::path::end().map(|| \"Hello, world!\");\n    warp::serve(hello).run(([127, 0, 0, 1], 3030)).await;\n}\n",
        ),
        (
            "poem",
            "poem = { version = \"3\", default-features = false, features = [\"server\"] }\n",
            "use poem::{Route, Server, get, handler, listener::TcpListener};\n\n#[handler]\nfn hello() -> &'static str {\n    \"Hello, world!\"\n}\n\n#[tokio::main]\nasync fn main() -> Result<(), std::io::Error> {\n    let app = Route::new().at(\"/\", get(hello));\n    Server::new(TcpListener::bind(\"0.0.0.0:3000\")).run(app).await\n}\n",
        ),
        (
            "salvo",
            "salvo = { version = \"1\", default-features = false, features = [\"http1\", \"server\"] }\n",
            "use salvo::prelude::*;\n\n#[handler]\nasync fn hello() -> &'static str {\n    \"Hello, world!\"\n}\n\n#[tokio::main]\nasync fn main() {\n    let router = Router::new().get(hello);\n    let acceptor = TcpListener::new(\"0.0.0.0:8698\").bind().await;\n    Server::new(acceptor).serve(router).await;\n}\n",
        ),
    ] {
        let project = program(&format!("hint-program-{name}"), dependency, main);
        follow(&project, &hint(&project, "does not depend on shuttle-service"));
    }
}

/// It depends on shuttle-service already, in each way to write that.
#[test]
fn a_package_without_a_function_is_told_the_feature_too() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("shuttle-service");
    let sdk = sdk.display();
    for (name, dependency) in [
        ("hint-inline", format!("shuttle-service = {{ path = \"{sdk}\" }}\n")),
        ("hint-dotted", format!("shuttle-service.path = \"{sdk}\"\n")),
        ("hint-table", format!("\n[dependencies.shuttle-service]\npath = \"{sdk}\"\n")),
        ("hint-more", format!("shuttle-service = {{ path = \"{sdk}\", features = [\"axum-0-7\"] }}\n")),
    ] {
        let project = library(name, &format!("{AXUM}{dependency}"));
        follow(&project, &hint(&project, "has no function under #[shuttle_service::main]"));
    }
}

#[test]
fn a_workspace_without_an_app_is_told_which_package_to_change() {
    let project = Project::empty().at("ws");
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"2\"\n")
        .write("ws/a/Cargo.toml", &manifest("svc-a", "").replace("[workspace]\n", ""))
        .write("ws/a/src/lib.rs", "")
        .write("ws/b/Cargo.toml", &manifest("svc-b", "rocket = \"0.5\"\n").replace("[workspace]\n", ""))
        .write("ws/b/src/lib.rs", "");
    let told = hint(&project, "none of its packages");
    assert!(
        told.starts_with(
            "annotate a function of `svc-b` (its packages are svc-a, svc-b)\nadd to [dependencies] in b/Cargo.toml\n"
        ),
        "{told}"
    );
    assert!(told.contains("and write in b/src/lib.rs") && told.contains("ShuttleRocket"), "{told}");
}

#[test]
fn a_feature_of_then_is_named_with_what_to_do_instead() {
    let project = library("hint-feature", "shuttle-service = { path = \"../sdk\", features = [\"bot-serenity\"] }\n");
    let told = hint(&project, "the feature `bot-serenity` of shuttle-service");
    assert!(told.contains("shuttle_service::background"), "{told}");
}
