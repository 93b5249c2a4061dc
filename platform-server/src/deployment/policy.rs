//! What may follow, decided from values alone: no I/O, no clock.

/// What to do with a deployment that is built and waits to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Start,
    /// A newer one serves already; starting this one would be a step back.
    Rest,
}

/// `candidate` and `serving` are ages: a higher number is newer.
pub(crate) fn after_build(candidate: i64, serving: Option<i64>) -> Next {
    match serving {
        Some(serving) if serving > candidate => Next::Rest,
        _ => Next::Start,
    }
}

/// How long to wait, in milliseconds, before an app that ended by itself is started again.
///
/// At once the first time: most crashes are rare. Then doubling from a quarter of a second up to `most`, so that an app
/// that can never start costs next to nothing. `lived_ms` above a minute starts the count afresh.
pub(crate) fn restart_delay_ms(failures_in_a_row: u32, most: u64) -> u64 {
    match failures_in_a_row {
        0 | 1 => 0,
        n => 250u64.saturating_mul(1 << (n - 2).min(20)).min(most),
    }
}

/// Failures in a row, after one more end of an instance that had lived so long.
pub(crate) fn failures_after(failures: u32, lived_ms: u64) -> u32 {
    if lived_ms >= 60_000 { 1 } else { failures.saturating_add(1) }
}

/// Which of the waiting deployments is built next: the oldest whose project has no build under way.
pub(crate) fn next_to_build(waiting: &[(i64, i64)], building: &[i64]) -> Option<usize> {
    waiting
        .iter()
        .enumerate()
        .filter(|(_, (_, project))| !building.contains(project))
        .min_by_key(|(_, (seq, _))| *seq)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_older_deployment_never_takes_the_place_of_a_newer_one(candidate: i64, serving: Option<i64>) {
            let starts = after_build(candidate, serving) == Next::Start;
            prop_assert_eq!(starts, serving.is_none_or(|serving| serving <= candidate));
        }

        #[test]
        fn delays_grow_and_stay_below_the_limit(failures in 0u32..200, most in 1000u64..1_000_000) {
            let (now, next) = (restart_delay_ms(failures, most), restart_delay_ms(failures + 1, most));
            prop_assert!(now <= next && next <= most);
        }

        #[test]
        fn one_build_a_project_and_the_oldest_first(waiting in prop::collection::vec((0i64..50, 0i64..5), 0..20), building in prop::collection::vec(0i64..5, 0..5)) {
            match next_to_build(&waiting, &building) {
                Some(at) => {
                    prop_assert!(!building.contains(&waiting[at].1));
                    prop_assert!(waiting.iter().all(|(seq, project)| building.contains(project) || *seq >= waiting[at].0));
                }
                None => prop_assert!(waiting.iter().all(|(_, project)| building.contains(project))),
            }
        }
    }

    #[test]
    fn an_instance_that_lived_long_starts_the_count_afresh() {
        assert_eq!(failures_after(7, 59_999), 8);
        assert_eq!(failures_after(7, 60_000), 1);
        assert_eq!(restart_delay_ms(1, 60_000), 0);
    }
}
