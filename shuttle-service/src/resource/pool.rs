//! What all pools have in common: how many connections they hold, how long one is waited for and kept.

use std::time::Duration;

use crate::{Error, Options};

/// The most connections of one pool where nothing is said. A small box serves many apps from one Postgres.
pub(super) const MAX_CONNECTIONS: u32 = 5;
/// The most that can be asked for: what the platform lets one project have at its Postgres.
pub(super) const LIMIT: u32 = 50;
/// A request that gets no connection for so long fails.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without work for so long is closed, down to `min_connections`.
#[allow(dead_code, reason = "a Redis connection is cheap, and its pools keep theirs")]
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The options of every pool.
pub(super) const MAX: &str = "max_connections";
pub(super) const MIN: &str = "min_connections";

/// How many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) max: u32,
    pub(super) min: u32,
}

impl Size {
    /// As the options say.
    pub(super) fn of(options: &Options) -> Result<Self, Error> {
        let min = connections(options, MIN, 0)?;
        let max = connections(options, MAX, 1)?;
        match (min, max) {
            (Some(min), Some(max)) if min > max => {
                Err(Error::msg(format!("the option `{MIN}` is {min}, more than `{MAX}`, which is {max}")))
            }
            (min, max) => {
                let min = min.unwrap_or(0);
                Ok(Self { min, max: max.unwrap_or(MAX_CONNECTIONS.max(min)) })
            }
        }
    }
}

fn connections(options: &Options, name: &str, least: u32) -> Result<Option<u32>, Error> {
    let Some(number) = options.number(name)? else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) if (least..=LIMIT).contains(&number) => Ok(Some(number)),
        _ => Err(Error::msg(format!("the option `{name}` is {number}: it has to be from {least} to {LIMIT}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(min: Option<i64>, max: Option<i64>) -> Result<(u32, u32), String> {
        let mut options = Options::new();
        for (name, value) in [(MIN, min), (MAX, max)] {
            options = value.into_iter().fold(options, |options, value| options.with(name, value));
        }
        Size::of(&options).map(|size| (size.min, size.max)).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_those_of_the_options_within_limits() {
        assert_eq!(size(None, None), Ok((0, 5)));
        assert_eq!(size(Some(2), None), Ok((2, 5)));
        assert_eq!(size(Some(8), None), Ok((8, 8)), "the least raises the most");
        assert_eq!(size(Some(3), Some(3)), Ok((3, 3)));
        assert_eq!(size(None, Some(50)), Ok((0, 50)));
    }

    #[test]
    fn what_cannot_be_is_told_with_its_limits() {
        assert_eq!(size(None, Some(0)).unwrap_err(), "the option `max_connections` is 0: it has to be from 1 to 50");
        assert_eq!(size(None, Some(51)).unwrap_err(), "the option `max_connections` is 51: it has to be from 1 to 50");
        assert_eq!(size(Some(-1), None).unwrap_err(), "the option `min_connections` is -1: it has to be from 0 to 50");
        let both = size(Some(4), Some(3)).unwrap_err();
        assert_eq!(both, "the option `min_connections` is 4, more than `max_connections`, which is 3");
        assert!(size(None, Some(i64::MAX)).is_err());
    }
}
