//! A project that was deployed from another folder or repository is not replaced without a word.

use platform_wire::Origin;

use crate::support::{Project, Server, Shuttle};

/// A server whose project was deployed from there.
fn deployed_from(origin: Origin) -> Server {
    let server = Server::start();
    server.has_project(platform_wire::Project {
        name: "my-app".parse().unwrap(),
        url: "http://my-app.localhost:8000".into(),
        created_at_ms: 0,
        serving: None,
        latest: None,
        resources: Vec::new(),
        env: Vec::new(),
        origin,
    });
    server
}

/// What a deployment of this project says of where it is from.
fn origin_of(project: &Project) -> Origin {
    let server = Server::start();
    Shuttle::new(project, &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(0);
    Origin::from_query(&server.archive().query["origin"])
}

fn elsewhere() -> Origin {
    Origin::from_query("git:github.com/them/app#\nfolder:m:/srv/them/app")
}

#[test]
fn without_a_terminal_it_is_refused_unless_it_is_meant() {
    let (project, server) = (Project::new(), deployed_from(elsewhere()));
    let run = Shuttle::new(&project, &server, &["deploy", "--no-follow", "--output", "json"]).run().ended_with(6);
    assert_eq!(run.json()["error"]["code"], "other_origin");
    let here = format!("this is the folder {}", project.app().display());
    run.says(&["`my-app` was last deployed from the repository github.com/them/app", &here, "--yes", "--name my-app"]);
    assert_eq!(server.uploads(), 0);
    for arguments in [&["--yes"][..], &["--name", "my-app"]] {
        Shuttle::new(&project, &server, &[&["deploy", "--no-follow"], arguments].concat()).run().ended_with(0);
        assert_eq!(server.archive().query["replace"], "true");
    }
}

#[test]
fn on_a_terminal_it_is_asked() {
    let (project, server) = (Project::new(), deployed_from(elsewhere()));
    let ask = |answer: &str, code| {
        let mut terminal = Shuttle::new(&project, &server, &["deploy", "--no-follow"]).on_terminal();
        terminal.shows("Replace it by what is here? [y/N]").types(answer);
        terminal.end().ended_with(code)
    };
    ask("\n", 1).says(&["nothing was deployed"]);
    assert_eq!(server.uploads(), 0);
    ask("y\n", 0);
    assert_eq!(server.uploads(), 1);
}

#[test]
fn the_same_folder_another_clone_and_an_unknown_place_are_not_asked() {
    let project = Project::new();
    let server = deployed_from(origin_of(&project));
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    assert!(!server.archive().query.contains_key("replace"));
    let server = deployed_from(Origin::default());
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);

    // Two clones of one repository, by different addresses, in different folders.
    let clones = ["https://user:token@github.com/me/app.git", "git@github.com:Me/App"].map(|url| {
        let project = Project::new();
        project.commit("");
        git2::Repository::open(project.root()).unwrap().remote("origin", url).unwrap();
        project
    });
    let origin = origin_of(&clones[0]);
    assert!(!format!("{origin:?}").contains("token"), "{origin:?}");
    assert_eq!(origin.to_string(), "the repository github.com/me/app (app)");
    let server = deployed_from(origin);
    Shuttle::new(&clones[1], &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(0);

    // A copy of a repository without a remote has its first commit; one of a folder has nothing of it.
    let (one, other) = (Project::new(), Project::new());
    one.commit("app");
    let copied = std::process::Command::new("cp").arg("-r").arg(one.app().join(".git")).arg(other.app()).status().unwrap();
    assert!(copied.success() && origin_of(&one).is_same(&origin_of(&other)));
    assert!(!origin_of(&project).is_same(&origin_of(&Project::new())));
}

#[test]
fn another_package_of_the_same_repository_is_another_origin() {
    let project = Project::new();
    project.write("copy/Cargo.toml", &project.read("app/Cargo.toml")).write("copy/src/lib.rs", &project.read("app/src/lib.rs"));
    project.commit("");
    git2::Repository::open(project.root()).unwrap().remote("origin", "https://github.com/me/app").unwrap();
    let server = deployed_from(origin_of(&project));
    let project = project.at("copy");
    let run = Shuttle::new(&project, &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(6);
    run.says(&["from the repository github.com/me/app (app), and this is the repository github.com/me/app (copy)"]);
}
