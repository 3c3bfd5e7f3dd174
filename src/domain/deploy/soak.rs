//! How a host is watched once it is deployed: what the next look is for, and when it is enough. Pure: how long it has been watched
//! is said with each look.

use std::time::Duration;

/// The shortest and the longest time between two looks.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How many looks there are at least, where the time is long enough.
const LOOKS: u32 = 20;
/// For how long a host that does not answer is looked for beyond the time that it is watched.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host that is watched.
#[derive(Debug)]
pub struct Soak {
    length: Duration,
    settle: Duration,
    worse: Option<Duration>,
}

/// What is done after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look again after this time.
    Wait(Duration),
    /// It was well for long enough.
    Well,
    /// It goes back; why.
    Back(Vec<String>),
    /// It does not answer any more.
    Lost,
}

impl Soak {
    /// One that is watched for this long, and whose checks may take so long to recover.
    pub fn new(length: Duration, settle: Duration) -> Self {
        Self { length, settle, worse: None }
    }

    /// Decides by a look. `at`: for how long it was watched by then. `found`: what got worse; none: it did not answer.
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
        // It counts from the start again.
        assert_eq!(soak.looked(seconds(69), worse()), Next::Wait(seconds(10)));
        assert_eq!(soak.looked(seconds(79), worse()), Next::Back(worse().unwrap()));
        // One that fails at the very end has its time too.
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
