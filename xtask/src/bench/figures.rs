//! What has to be reached, and what was: the rows of the table in docs/BENCHMARKS.md.

use std::time::Duration;

/// A row of the table.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    what: &'static str,
    target: &'static str,
    /// The largest value that is good.
    limit: f64,
    unit: Unit,
}

#[derive(Debug, PartialEq)]
enum Unit {
    Ratio,
    Seconds,
    Count,
}

pub(super) const REDEPLOY_HELLO: Row = Row {
    what: "hello-axum, one line edited: `cargo shuttle deploy` to the first response of the new version ÷ `cargo build --release` \
           of the same edit in the same app written as a plain binary without the platform",
    target: "at most 0.5",
    limit: 0.5,
    unit: Unit::Ratio,
};
pub(super) const REDEPLOY_SHORTENER: Row =
    Row { what: "url-shortener (rocket, sqlx), the same", target: "at most 0.5", limit: 0.5, unit: Unit::Ratio };
pub(super) const UNCHANGED: Row =
    Row { what: "nothing edited: `cargo shuttle deploy`, in all", target: "under 1 s", limit: 1.0, unit: Unit::Seconds };
pub(super) const SECOND_RECOMPILED: Row =
    Row { what: "second app, same dependencies: registry crates recompiled", target: "0", limit: 0.0, unit: Unit::Count };
pub(super) const SECOND_DEPLOY: Row = Row {
    what: "second app, same dependencies: first deploy ÷ `cargo build --release` of that app with dependencies already compiled",
    target: "at most 1.5",
    limit: 1.5,
    unit: Unit::Ratio,
};
pub(super) const PACK: Row = Row {
    what: "packing and upload of a 2,000-file workspace, over reading the files",
    target: "at most 0.3 s",
    limit: 0.3,
    unit: Unit::Seconds,
};
pub(super) const OVERHEAD: Row = Row {
    what: "platform overhead: deploy wall time minus cargo's own time in it",
    target: "at most 0.5 s",
    limit: 0.5,
    unit: Unit::Seconds,
};

const ROWS: [&Row; 7] = [&REDEPLOY_HELLO, &REDEPLOY_SHORTENER, &UNCHANGED, &SECOND_RECOMPILED, &SECOND_DEPLOY, &PACK, &OVERHEAD];
const HEAD: &str = "| What | Must reach | Measured | Met | When |\n|---|---|---:|---|---|\n";

/// A row's value.
#[derive(Debug)]
pub(super) struct Figure {
    row: &'static Row,
    value: f64,
}

impl Row {
    pub(super) fn ratio(&'static self, value: f64) -> Figure {
        Figure { row: self, value }
    }

    pub(super) fn time(&'static self, time: Duration) -> Figure {
        Figure { row: self, value: time.as_secs_f64() }
    }

    pub(super) fn count(&'static self, count: usize) -> Figure {
        Figure { row: self, value: count as f64 }
    }

    fn line(&self, value: &str, met: &str, when: &str) -> String {
        format!("| {} | {} | {value} | {met} | {when} |\n", self.what, self.target)
    }
}

impl Figure {
    fn value(&self) -> String {
        match self.row.unit {
            Unit::Ratio => format!("{:.2}", self.value),
            Unit::Seconds => format!("{:.2} s", self.value),
            Unit::Count => format!("{:.0}", self.value),
        }
    }

    fn met(&self) -> &'static str {
        if self.value <= self.row.limit { "yes" } else { "**no**" }
    }

    /// For the terminal.
    pub(super) fn to_line(&self) -> String {
        let met = if self.met() == "yes" { "met" } else { "NOT met" };
        format!("{:>8}  {} ({}: {met})", self.value(), self.row.what.replace('`', ""), self.row.target)
    }
}

/// The table with the new values, and the present table's lines for what has not been measured now.
pub(super) fn table(present: &str, figures: &[Figure], when: &str) -> String {
    let line = |row: &&Row| {
        if let Some(figure) = figures.iter().find(|figure| figure.row == *row) {
            return row.line(&figure.value(), figure.met(), when);
        }
        let start = format!("| {} | {} |", row.what, row.target);
        let before = present.lines().find(|line| line.starts_with(&start));
        before.map_or_else(|| row.line("not measured yet", "", ""), |line| format!("{line}\n"))
    };
    HEAD.to_owned() + &ROWS.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_measured_now_keeps_its_value() {
        let ms = Duration::from_millis;
        let first = table("", &[REDEPLOY_HELLO.ratio(0.219), UNCHANGED.time(ms(1204))], "monday");
        assert_eq!(first.matches("not measured yet").count(), ROWS.len() - 2);
        assert!(first.contains("| at most 0.5 | 0.22 | yes | monday |"), "{first}");
        assert!(first.contains("| under 1 s | 1.20 s | **no** | monday |"), "{first}");
        let second = table(&first, &[UNCHANGED.time(ms(400)), SECOND_RECOMPILED.count(0)], "tuesday");
        assert!(second.contains("| 0.22 | yes | monday |"), "{second}");
        assert!(second.contains("| 0.40 s | yes | tuesday |") && second.contains("| 0 | 0 | yes | tuesday |"), "{second}");
        assert_eq!(second.lines().count(), ROWS.len() + 2);
    }

    #[test]
    fn every_row_can_be_told_from_the_others() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.what.starts_with(row.what)).count(), 1, "{}", row.what);
        }
    }
}
