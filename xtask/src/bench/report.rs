//! From times to docs/BENCHMARKS.md: medians, the machine, the page.

use std::{fmt, fs, path::Path, process::Command, time::Duration};

use crate::{
    cmd,
    error::{At, Error, Result},
    repo::Repo,
    ui::seconds,
};

/// One round's two times.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) deploy: Duration,
    pub(super) bare: Duration,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.deploy.as_secs_f64() / self.bare.as_secs_f64()
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deploy {}, bare build {}, ratio {:.2}", seconds(self.deploy), seconds(self.bare), self.ratio())
    }
}

/// A stretch of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    name: String,
    time: Duration,
}

/// Times between marks. What comes up twice is added up.
pub(super) fn parts(marks: &[(String, Duration)], end: Duration) -> Vec<Part> {
    let ends = marks.iter().skip(1).map(|(_, at)| *at).chain([end]);
    let mut parts: Vec<Part> = Vec::new();
    for ((name, from), to) in marks.iter().zip(ends) {
        let time = to.saturating_sub(*from);
        match parts.iter_mut().find(|part| part.name == *name) {
            Some(part) => part.time += time,
            None => parts.push(Part { name: name.clone(), time }),
        }
    }
    parts
}

/// What the page says of one run.
#[derive(Debug)]
pub(super) struct Report<'a> {
    rounds: &'a [Round],
    parts: Vec<Part>,
    watched: usize,
    machine: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(repo: &Repo, rounds: &'a [Round], watched: &[Vec<Part>]) -> Result<Self> {
        Ok(Self { rounds, parts: medians(watched), watched: watched.len(), machine: machine(repo)? })
    }

    /// Median deployment, median bare build, median of the rounds' ratios.
    fn numbers(&self) -> (Duration, Duration, f64) {
        let times =
            |of: fn(&Round) -> Duration| Duration::from_secs_f64(median(self.rounds.iter().map(|round| of(round).as_secs_f64())));
        (times(|round| round.deploy), times(|round| round.bare), median(self.rounds.iter().map(Round::ratio)))
    }

    pub(super) fn headline(&self) -> String {
        let (deploy, bare, ratio) = self.numbers();
        format!("redeploy {}, bare release build {}, ratio {ratio:.2}", seconds(deploy), seconds(bare))
    }

    pub(super) fn to_markdown(&self) -> String {
        let (deploy, bare, ratio) = self.numbers();
        let mut text = format!(
            "{}\n\n| | median of {} |\n|---|---:|\n| one-line change of `examples/hello-axum`: `cargo shuttle deploy`, to the first answer of the new version | {} |\n\
             | the same edit in the same app as a plain binary: `cargo build --release` | {} |\n| ratio, round by round | **{ratio:.2}** |\n\n",
            self.machine,
            self.rounds.len(),
            seconds(deploy),
            seconds(bare),
        );
        text += "All rounds:\n\n| round | deploy | bare build | ratio |\n|---:|---:|---:|---:|\n";
        for (number, round) in self.rounds.iter().enumerate() {
            text += &format!("| {} | {} | {} | {:.2} |\n", number + 1, seconds(round.deploy), seconds(round.bare), round.ratio());
        }
        text += &format!(
            "\nWhere the time goes (median of {} more deployments, whose events were followed; the stages are those that the \
             server tells):\n\n| part | ms |\n|---|---:|\n",
            self.watched
        );
        for part in &self.parts {
            text += &format!("| {} | {} |\n", part.name, part.time.as_millis());
        }
        text
    }
}

/// Of each part, in the order of the first run; a run without that part counts as none of it.
fn medians(runs: &[Vec<Part>]) -> Vec<Part> {
    let time = |run: &[Part], name: &str| run.iter().find(|part| part.name == name).map_or(0.0, |part| part.time.as_secs_f64());
    let first = runs.first().map(Vec::as_slice).unwrap_or_default();
    first
        .iter()
        .map(|part| Part {
            name: part.name.clone(),
            time: Duration::from_secs_f64(median(runs.iter().map(|run| time(run, &part.name)))),
        })
        .collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// A number without its machine says little.
fn machine(repo: &Repo) -> Result<String> {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(key))
            .and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let memory = memory
        .trim_end_matches(" kB")
        .parse::<u64>()
        .map_or(memory.clone(), |kib| format!("{:.1} GiB", kib as f64 / 1_048_576.0));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = cmd::output(Command::new("rustc").arg("--version"))?;
    let date = cmd::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    // `-dirty`, where what was measured is in no commit.
    let commit =
        cmd::output(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(&repo.root)).unwrap_or_default();
    Ok(format!(
        "{}, commit {}, on {} ({cores} cores seen), {memory} of memory, Linux {}, {}.",
        date.trim(),
        commit.trim(),
        line("/proc/cpuinfo", "model name"),
        kernel.trim(),
        rustc.trim()
    ))
}

/// Puts the text between the page's markers, and leaves the rest of the page as it is.
pub(super) fn write(file: &Path, name: &str, text: &str) -> Result<()> {
    let page = fs::read_to_string(file).at(file)?;
    let replaced =
        between(&page, name, text).ok_or_else(|| Error::new(format!("{} has no markers for {name}", file.display())))?;
    fs::write(file, replaced).at(file)
}

fn between(page: &str, name: &str, text: &str) -> Option<String> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) = page.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}\n\n{}\n\n{close}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn medians_are_medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }

    #[test]
    fn parts_lie_between_marks() {
        let marks = [("a", 0), ("b", 10), ("a", 15)].map(|(name, at)| (name.to_owned(), ms(at)));
        let part = |name: &str, time| Part { name: name.to_owned(), time: ms(time) };
        assert_eq!(parts(&marks, ms(18)), [part("a", 13), part("b", 5)]);
        let runs = [vec![part("a", 1), part("b", 2)], vec![part("a", 3)], vec![part("a", 9), part("b", 4)]];
        assert_eq!(medians(&runs), [part("a", 3), part("b", 2)]);
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let page = "# Title\n<!-- bench:deploy -->\nold\n<!-- /bench:deploy -->\nend\n";
        let new = between(page, "deploy", "new").unwrap();
        assert_eq!(new, "# Title\n<!-- bench:deploy -->\n\nnew\n\n<!-- /bench:deploy -->\nend\n");
        assert_eq!(between(page, "other", "new"), None);
    }
}
