//! `cargo xtask demo`: the main job, from nothing to an app that answers.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cmd,
    error::{Error, Result},
    http::Request,
    repo::{Repo, Temp},
    server::Server,
    setup::{self, Scope},
    signals,
    ui::{self, Steps},
};

const APP: &str = "url-shortener";
const LONG_URL: &str = "https://www.rust-lang.org/";

/// Runs it; with `once`, ends after the check.
pub(crate) fn demo(repo: &Repo, once: bool) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("Check what this machine has", || setup::setup(Scope::Run))?;
    let bins = steps.run("Build the platform (the first time takes some minutes)", || repo.build_bins(false))?;
    let temp = Temp::new("demo")?;
    let mut server = steps.run("Start platform-server", || {
        let server = Server::start(&bins, &temp, &proxy_address(once), &[])?;
        ui::note(format_args!("API {}, proxy {}, data in {}", server.api, server.proxy, temp.path.join("data").display()));
        Ok(server)
    })?;
    if let Err(error) = show(repo, &mut server, &mut steps, once) {
        // Why it failed is what matters now, not how the server took being stopped: it is dropped.
        server.show_log(&error);
        return Err(error);
    }
    ui::step("Stop platform-server");
    server.stop()?;
    // Build folders are gigabytes: on a busy disk this takes a while, and should not look like a hang.
    ui::step("Remove its data");
    drop(temp);
    Ok(())
}

fn show(repo: &Repo, server: &mut Server, steps: &mut Steps, once: bool) -> Result<()> {
    let project = repo.root.join("examples").join(APP);
    steps.run(&format!("Deploy examples/{APP}"), || {
        let mut command = server.cli(&project);
        cmd::run(command.args(["deploy", "--allow-dirty"]))
    })?;
    let url = server.api_json(&format!("/projects/{APP}"))?["url"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new("the project has no URL"))?;
    let path = steps.run("Shorten a URL and follow it, through the proxy", || shorten(&server.proxy))?;
    steps.summary();
    if once {
        ui::say(format_args!("{url} works: {url}{path} leads to {LONG_URL}"));
        return Ok(());
    }
    ui::say(format_args!("\n{APP} is live at {url}\n"));
    ui::say(format_args!("  shorten a URL    curl -d https://doc.rust-lang.org/book/ {url}/"));
    ui::say(format_args!("  follow one       curl -i {url}{path}"));
    ui::say(format_args!(
        "  ask the server   SHUTTLE_API={} SHUTTLE_API_KEY=$(cat {}) {} shuttle status --name {APP}",
        server.api,
        cmd::quoted(&server.key_file.display().to_string()),
        cmd::quoted(&repo.bins(false).join("cargo-shuttle").display().to_string())
    ));
    ui::say("\nCtrl-C stops it and removes its data.");
    stay(server)
}

/// Until the user stops it, or the server ends.
fn stay(server: &mut Server) -> Result<()> {
    while !signals::stopped() {
        server.check()?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The usual port where it is free, so that the address is the one in the README.
fn proxy_address(once: bool) -> String {
    let usual = "127.0.0.1:8000";
    if !once && TcpListener::bind(usual).is_ok() { usual.to_owned() } else { "127.0.0.1:0".to_owned() }
}

/// Posts a URL, follows what comes back, and gives the short path.
fn shorten(proxy: &str) -> Result<String> {
    let host = format!("{APP}.localhost");
    let began = Instant::now();
    let answer = Request::post(proxy, "/", LONG_URL).header("Host", &host).send()?;
    if !(200..300).contains(&answer.status) {
        return Err(Error::new(format!("POST / answered {}: {}", answer.status, answer.body.trim())));
    }
    let path = path_of(&answer.body).ok_or_else(|| Error::new(format!("POST / answered no short URL: {:?}", answer.body)))?;
    let followed = Request::get(proxy, &path).header("Host", &host).send()?;
    let location = followed.header("location").unwrap_or_default();
    if !(300..400).contains(&followed.status) || location != LONG_URL {
        return Err(Error::new(format!("GET {path} answered {} with location {location:?}, not {LONG_URL}", followed.status)));
    }
    ui::note(format_args!(
        "POST / gave {path}; GET {path} answered {}, {location} ({})",
        followed.status,
        ui::seconds(began.elapsed())
    ));
    Ok(path)
}

/// The path in the app's answer: a whole URL, a path, or a bare code.
fn path_of(body: &str) -> Option<String> {
    let word = body.split_whitespace().last()?.trim_matches('"');
    let path = match word.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => word.trim_start_matches('/'),
    };
    (!path.is_empty()).then(|| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_path_is_found_in_any_form() {
        for body in ["http://app.localhost:8000/Ab1\n", "/Ab1", "Ab1", "your link: http://a/Ab1"] {
            assert_eq!(path_of(body).as_deref(), Some("/Ab1"), "{body}");
        }
        assert_eq!(path_of("http://a.localhost/"), None);
        assert_eq!(path_of(""), None);
    }
}
