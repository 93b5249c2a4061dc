//! Timed deployments, and what they are compared with.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Found, Measurement,
    app::{self, HELLO, Plain, Project, SHORTENER, Sample},
    figures, pack, report,
    report::Round,
    second, watch,
};
use crate::{
    cmd::Captured,
    error::{Error, Result},
    http::Request,
    server::Server,
    signals, ui,
};

/// A deployment. What the later, fully optimised build would do is not waited for, and so not timed.
pub(super) const DEPLOY: [&str; 4] = ["deploy", "--allow-dirty", "--build=fast", "--output=json"];
/// How long an answer of the new version may take after the CLI has ended.
const ANSWER: Duration = Duration::from_secs(60);

/// Everything that measurements need.
pub(super) struct Bench<'a> {
    pub(super) repo: &'a Path,
    pub(super) temp: &'a Path,
    pub(super) server: &'a Server,
    pub(super) rounds: usize,
    /// Several measurements are of this app, and its first deployment takes long.
    hello: Option<Pair>,
}

/// An app that is deployed, and the same without the platform, built.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) app: Project,
    pub(super) plain: Project,
    /// Where the plain form is built.
    pub(super) target: PathBuf,
}

impl<'a> Bench<'a> {
    pub(super) fn new(repo: &'a Path, temp: &'a Path, server: &'a Server, rounds: usize) -> Self {
        Self { repo, temp, server, rounds, hello: None }
    }

    pub(super) fn measure(&mut self, measurement: Measurement) -> Result<Found> {
        if measurement == Measurement::Shortener {
            return self.shortener(&self.pair(&SHORTENER)?);
        }
        let pair = match self.hello.take() {
            Some(pair) => pair,
            None => self.pair(&HELLO)?,
        };
        let found = match measurement {
            Measurement::Hello => self.redeploy(&pair, &figures::REDEPLOY_HELLO),
            Measurement::Overhead => self.overhead(&pair),
            Measurement::Unchanged => self.unchanged(&pair),
            Measurement::Second => second::measure(self, &pair),
            Measurement::Pack => pack::measure(self),
            Measurement::Shortener => unreachable!("returned above"),
        };
        self.hello = Some(pair);
        found
    }

    /// The first deployment and the first bare build, which compile all dependencies.
    fn pair(&self, sample: &'static Sample) -> Result<Pair> {
        let app = Project::example(self.repo, sample, self.temp.join(sample.name))?;
        let folder = self.temp.join(format!("{}-plain", sample.name));
        let plain = Project::plain(self.repo, sample, folder, Plain::Program)?;
        let target = self.temp.join(format!("{}-target", sample.name));
        let (first, _) = self.deploy(&app, "The first version.")?;
        ui::note(format_args!("{}: first deployment {}", app.name, ui::seconds(first)));
        let (built, crates) = plain.build(&target)?;
        ui::note(format_args!("{}: first bare build {} ({crates} crates)", app.name, ui::seconds(built)));
        Ok(Pair { app, plain, target })
    }

    fn redeploy(&self, pair: &Pair, row: &'static figures::Row) -> Result<Found> {
        let rounds = turns(self.rounds, |number, deploys| {
            let text = format!("Version {number}.");
            if deploys {
                return Ok(self.deploy(&pair.app, &text)?.0);
            }
            pair.plain.edit(&text)?;
            Ok(pair.plain.build(&pair.target)?.0)
        })?;
        let deployed = format!(
            "one-line change of `examples/{}`: `cargo shuttle deploy`, to the first answer of the new version",
            pair.app.name
        );
        let built = "the same edit in the same app as a plain binary: `cargo build --release`";
        Ok(Found { figures: vec![row.ratio(report::ratio(&rounds))], text: report::rounds(&rounds, &deployed, built) })
    }

    fn shortener(&self, pair: &Pair) -> Result<Found> {
        let mut found = self.redeploy(pair, &figures::REDEPLOY_SHORTENER)?;
        found.text += "\n";
        found.text += &report::watched_table(&self.watched(pair)?);
        Ok(found)
    }

    fn overhead(&self, pair: &Pair) -> Result<Found> {
        let runs = self.watched(pair)?;
        let overheads: Vec<Duration> = runs.iter().map(|parts| watch::overhead(parts)).collect();
        let overhead = report::median_time(overheads.iter().copied());
        let text = format!(
            "One-line changes of `examples/{}`. A deployment took {} more than its compilation (median of {}: {}). cargo's own \
             time is that of `cargo rustc`, with the start of its sandbox; `cargo fetch`, which a build at home does as part of \
             the same command, counts as the platform's.\n\n{}",
            pair.app.name,
            ui::seconds(overhead),
            overheads.len(),
            report::listed(overheads.iter().copied()),
            report::watched_table(&runs)
        );
        Ok(Found { figures: vec![figures::OVERHEAD.time(overhead)], text })
    }

    fn watched(&self, pair: &Pair) -> Result<Vec<Vec<report::Part>>> {
        (0..self.rounds).map(|number| watch::deploy(self, &pair.app, &format!("Watched version {number}."))).collect()
    }

    fn unchanged(&self, pair: &Pair) -> Result<Found> {
        let text = "The version that stays.";
        self.deploy(&pair.app, text)?;
        let times = |arguments: &[&str]| {
            let once = |_| {
                let began = Instant::now();
                self.cli(&pair.app, arguments)?;
                self.wait_for(&pair.app, text)?;
                Ok(began.elapsed())
            };
            (0..self.rounds).map(once).collect::<Result<Vec<Duration>>>()
        };
        let (unchanged, forced) = (times(&[])?, times(&["--force"])?);
        let median = report::median_time(unchanged.iter().copied());
        let text = format!(
            "`cargo shuttle deploy` of `examples/{}`, deployed before and not touched since: {} (median of {}: {}); the server says \
             that it serves already. With `--force`, which builds and starts it anew: {} ({}).",
            pair.app.name,
            ui::seconds(median),
            self.rounds,
            report::listed(unchanged.into_iter()),
            ui::seconds(report::median_time(forced.iter().copied())),
            report::listed(forced.into_iter()),
        );
        Ok(Found { figures: vec![figures::UNCHANGED.time(median)], text })
    }

    /// From the edit to the first answer of the new version; and what the CLI printed.
    pub(super) fn deploy(&self, project: &Project, text: &str) -> Result<(Duration, Captured)> {
        project.edit(text)?;
        let began = Instant::now();
        let printed = self.cli(project, &[])?;
        self.wait_for(project, text)?;
        Ok((began.elapsed(), printed))
    }

    fn cli(&self, project: &Project, arguments: &[&str]) -> Result<Captured> {
        Ok(app::timed(self.server.cli(&project.folder).args(DEPLOY).args(arguments))?.1)
    }

    pub(super) fn wait_for(&self, project: &Project, text: &str) -> Result<()> {
        let host = format!("{}.localhost", project.name);
        let answered = signals::poll(ANSWER, Duration::from_millis(2), || {
            let answer = Request::get(&self.server.proxy, "/").header("Host", &host).send();
            Ok(answer.ok().filter(|answer| answer.status == 200 && answer.body.contains(text)))
        })?;
        answered.map(drop).ok_or_else(|| Error::new(format!("the version of {} that says {text:?} never answered", project.name)))
    }
}

/// Rounds of a deployment and a bare build. Which one goes first alternates, as the first one finds colder caches.
pub(super) fn turns(rounds: usize, mut time: impl FnMut(usize, bool) -> Result<Duration>) -> Result<Vec<Round>> {
    (0..rounds)
        .map(|number| {
            let deploys_first = number.is_multiple_of(2);
            let first = time(number, deploys_first)?;
            let second = time(number, !deploys_first)?;
            let (deploy, bare) = if deploys_first { (first, second) } else { (second, first) };
            let round = Round { deploy, bare };
            ui::note(&round);
            Ok(round)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_timed_in_turns() {
        let mut calls = Vec::new();
        let rounds = turns(2, |number, deploys| {
            calls.push((number, deploys));
            Ok(Duration::from_secs(if deploys { 1 } else { 2 }))
        })
        .unwrap();
        assert_eq!(calls, [(0, true), (0, false), (1, false), (1, true)]);
        assert_eq!(report::ratio(&rounds), 0.5);
    }
}
