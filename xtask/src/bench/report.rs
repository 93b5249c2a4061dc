//! From times to text: medians, rounds, and the stretches of a deployment.

use std::{fmt, time::Duration};

use crate::ui::seconds;

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

/// The median of the rounds' own ratios: each is of two times that lie close to each other.
pub(super) fn ratio(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(Round::ratio))
}

/// What the page says of rounds.
pub(super) fn rounds(rounds: &[Round], deployed: &str, built: &str) -> String {
    let mut text = format!(
        "| | median of {} |\n|---|---:|\n| {deployed} | {} |\n| {built} | {} |\n| ratio, round by round | **{:.2}** |\n\n\
         All rounds:\n\n| round | deploy | bare build | ratio |\n|---:|---:|---:|---:|\n",
        rounds.len(),
        seconds(median_time(rounds.iter().map(|round| round.deploy))),
        seconds(median_time(rounds.iter().map(|round| round.bare))),
        ratio(rounds),
    );
    for (number, round) in rounds.iter().enumerate() {
        text += &format!("| {} | {} | {} | {:.2} |\n", number + 1, seconds(round.deploy), seconds(round.bare), round.ratio());
    }
    text
}

/// Times one after another, for a sentence.
pub(super) fn listed(times: impl Iterator<Item = Duration>) -> String {
    times.map(seconds).collect::<Vec<_>>().join(", ")
}

/// A stretch of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) time: Duration,
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

/// Where the time of watched deployments goes.
pub(super) fn watched_table(runs: &[Vec<Part>]) -> String {
    format!(
        "Where the time goes (median of {} more deployments, whose events were followed; the stages are those that the server \
         tells):\n\n{}",
        runs.len(),
        medians_table(runs)
    )
}

/// The median of each part.
pub(super) fn medians_table(runs: &[Vec<Part>]) -> String {
    let mut text = "| part | ms |\n|---|---:|\n".to_owned();
    for part in medians(runs) {
        text += &format!("| {} | {} |\n", part.name, part.time.as_millis());
    }
    text
}

/// Of each part, in the order of the first run; a run without that part counts as none of it.
fn medians(runs: &[Vec<Part>]) -> Vec<Part> {
    let time = |run: &[Part], name: &str| run.iter().find(|part| part.name == name).map_or(Duration::ZERO, |part| part.time);
    let first = runs.first().map(Vec::as_slice).unwrap_or_default();
    first
        .iter()
        .map(|part| Part { name: part.name.clone(), time: median_time(runs.iter().map(|run| time(run, &part.name))) })
        .collect()
}

pub(super) fn median_time(times: impl Iterator<Item = Duration>) -> Duration {
    Duration::from_secs_f64(median(times.map(|time| time.as_secs_f64())))
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
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
    fn ratios_are_taken_round_by_round() {
        let round = |deploy, bare| Round { deploy: ms(deploy), bare: ms(bare) };
        let rounds = [round(10, 10), round(100, 50), round(1, 10)];
        assert_eq!(ratio(&rounds), 1.0);
        let text = super::rounds(&rounds, "deploy", "build");
        assert!(
            text.contains("| ratio, round by round | **1.00** |") && text.contains("| 3 | 0.00 s | 0.01 s | 0.10 |"),
            "{text}"
        );
    }

    #[test]
    fn parts_lie_between_marks() {
        let marks = [("a", 0), ("b", 10), ("a", 15)].map(|(name, at)| (name.to_owned(), ms(at)));
        let part = |name: &str, time| Part { name: name.to_owned(), time: ms(time) };
        assert_eq!(parts(&marks, ms(18)), [part("a", 13), part("b", 5)]);
        let runs = [vec![part("a", 1), part("b", 2)], vec![part("a", 3)], vec![part("a", 9), part("b", 4)]];
        assert_eq!(medians(&runs), [part("a", 3), part("b", 2)]);
    }
}
