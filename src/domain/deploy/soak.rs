//! How a host is watched after a deploy: when to check again, and when to stop. Pure: the caller passes the elapsed
//! time.

use std::time::Duration;

/// The shortest and the longest interval between two checks.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The minimum number of checks, if the time is long enough.
const LOOKS: u32 = 20;
/// How long to wait for a host that does not answer, beyond the time that it is watched.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of a host that is being watched.
#[derive(Debug)]
pub struct Soak {
    length: Duration,
    settle: Duration,
    worse: Option<Duration>,
}

/// What to do after a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Check again after this time.
    Wait(Duration),
    /// It was healthy for long enough.
    Well,
    /// Roll back, for these reasons.
    Back(Vec<String>),
    /// It no longer answers.
    Lost,
}

impl Soak {
    /// `length`: how long to watch the host. `settle`: how long a failing check may take to recover.
    pub fn new(length: Duration, settle: Duration) -> Self {
        Self { length, settle, worse: None }
    }

    /// Decides after a check. `at`: the time watched so far. `found`: what got worse; `None` if the host did not
    /// answer.
    pub fn looked(&mut self, at: Duration, found: Option<Vec<String>>) -> Next {
        let between = (self.length / LOOKS).clamp(BETWEEN.0, BETWEEN.1);
        let Some(found) = found else {
            return if at >= self.length + PATIENCE { Next::Lost } else { Next::Wait(between) };
        };
        if found.is_empty() {
            self.worse = None;
            let left = self.length.saturating_sub(at);
            return if left.is_zero() { Next::Well } else { Next::Wait(between.min(left)) };
        }
        let since = *self.worse.get_or_insert(at);
        let left = self.settle.saturating_sub(at.saturating_sub(since));
        if left.is_zero() { Next::Back(found) } else { Next::Wait(between.min(left)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_stays_well_is_watched_to_the_end_and_no_longer() {
        let mut soak = Soak::new(seconds(600), seconds(10));
        let (mut at, mut looks) = (Duration::ZERO, 0);
        loop {
            looks += 1;
            match soak.looked(at, Some(Vec::new())) {
                Next::Wait(time) => at += time,
                next => {
                    assert_eq!(next, Next::Well);
                    break;
                }
            }
        }
        assert_eq!((at, looks), (seconds(600), 21));
        assert_eq!(Soak::new(seconds(1), seconds(0)).looked(seconds(0), Some(Vec::new())), Next::Wait(seconds(1)));
    }

    #[test]
    fn what_recovers_in_time_is_well_and_what_does_not_goes_back() {
        let worse = || Some(vec!["check app: it is down".to_owned()]);
        let mut soak = Soak::new(seconds(600), seconds(10));
        assert_eq!(soak.looked(seconds(30), worse()), Next::Wait(seconds(10)));
        assert_eq!(soak.looked(seconds(39), Some(Vec::new())), Next::Wait(seconds(30)));
        // The time to recover starts again.
        assert_eq!(soak.looked(seconds(69), worse()), Next::Wait(seconds(10)));
        assert_eq!(soak.looked(seconds(79), worse()), Next::Back(worse().unwrap()));
        // A check that fails at the very end has time to recover, too.
        let mut soak = Soak::new(seconds(600), seconds(10));
        assert_eq!(soak.looked(seconds(600), worse()), Next::Wait(seconds(10)));
        assert_eq!(soak.looked(seconds(610), worse()), Next::Back(worse().unwrap()));
    }

    #[test]
    fn one_that_does_not_answer_is_not_well() {
        let mut soak = Soak::new(seconds(60), seconds(10));
        assert_eq!(soak.looked(seconds(60), None), Next::Wait(seconds(3)));
        assert_eq!(soak.looked(seconds(119), None), Next::Wait(seconds(3)));
        assert_eq!(soak.looked(seconds(120), None), Next::Lost);
        assert_eq!(soak.looked(seconds(120), Some(Vec::new())), Next::Well);
    }
}
