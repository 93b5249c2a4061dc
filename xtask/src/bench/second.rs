//! Another app with dependencies that the server has seen: what is compiled again, and how long its first deployment takes.

use std::fs;

use super::{
    Found,
    app::{HELLO, Plain, Project},
    deploy::{Bench, Pair, turns},
    figures, report,
};
use crate::error::{At, Error, Result};

/// Each round is another app, as each app has one first deployment.
pub(super) fn measure(bench: &Bench<'_>, hello: &Pair) -> Result<Found> {
    let mut recompiled = Vec::new();
    let rounds = turns(bench.rounds, |number, deploys| {
        // A name of its own, as a user's app has, which lockfiles sort to another place.
        let name = format!("{}-{number}", ["app", "my-app", "your-app"][number % 3]);
        let text = format!("App {number}.");
        if deploys {
            let mut app = Project::example(bench.repo, &HELLO, bench.temp.join(&name))?;
            app.rename(name)?;
            let (time, printed) = bench.deploy(&app, &text)?;
            recompiled.push(crates(&printed.stderr).ok_or_else(|| {
                Error::new(format!("the server did not say what it compiled for {}:\n{}", app.name, printed.stderr))
            })?);
            return Ok(time);
        }
        let mut plain = Project::plain(bench.repo, &HELLO, bench.temp.join(format!("{name}-plain")), Plain::Program)?;
        // What cargo added for the first one, in the same versions: else its dependencies would not be the compiled ones.
        let locked = hello.plain.folder.join("Cargo.lock");
        fs::copy(&locked, plain.folder.join("Cargo.lock")).at(&locked)?;
        plain.rename(name)?;
        plain.edit(&text)?;
        match plain.build(&hello.target)? {
            (time, 1) => Ok(time),
            (_, crates) => {
                Err(Error::new(format!("the bare build of {} compiled {crates} crates, not its own alone", plain.name)))
            }
        }
    })?;
    let most = recompiled.iter().copied().max().unwrap_or(0);
    let deployed =
        format!("first `cargo shuttle deploy` of an app with the dependencies of `examples/{}`, to its first answer", HELLO.name);
    let built = "`cargo build --release` of the same app as a plain binary, with dependencies already compiled";
    let text = format!(
        "Registry crates that the server compiled for it: {most} in all {} rounds, by what it says of cargo's messages.\n\n{}",
        rounds.len(),
        report::rounds(&rounds, &deployed, built)
    );
    let figures = vec![figures::SECOND_RECOMPILED.count(most), figures::SECOND_DEPLOY.ratio(report::ratio(&rounds))];
    Ok(Found { figures, text })
}

/// How many dependencies were compiled, by the server's own words. `None`: it does not say.
fn crates(printed: &str) -> Option<usize> {
    let lines = printed.lines().filter_map(|line| line.trim_start().strip_prefix("Compiled "));
    let counts = lines.filter_map(|line| line.split_once(" of the project, "));
    counts.filter_map(|(_, rest)| rest.split_once(" of ")?.0.parse().ok()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_counted() {
        let project = "    Compiled 1 of 2 crates of the project, 0 of 62 dependencies\n";
        assert_eq!(crates(&format!("   Uploaded as x\n{project}   Built the service\n")), Some(0));
        assert_eq!(crates(&project.replace(" 0 ", " 58 ")), Some(58));
        assert_eq!(crates(""), None);
    }
}
