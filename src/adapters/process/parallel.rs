//! The same work on many items in parallel, on the machine's cores or for many machines. Results keep the order of the
//! items.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

const THREADS: usize = 16;

/// The number of threads for CPU-bound work.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// Does the work on every item, on one thread per core.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_on(threads(), items, work)
}

/// Does the work on every item, on this many threads: for work that mostly waits on I/O.
pub fn map_on<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if threads.min(items.len()) < 2 {
        return items.iter().map(work).collect();
    }
    // No lock between items: most of them are small.
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(items.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                let mut mine = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    mine.push((at, work(item)));
                }
                done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Does the work for one machine. A panic becomes an error of this machine, and the others continue; the panic hook has
/// already reported it.
pub fn alone<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(Kind::Bug, "sealift has a defect, and stopped here").help("please report it"))
    })
}

/// Like `map_on`, with a limit per group on how many of its items run at once. `groups` returns an item's groups as
/// indices into `limits`. An item whose groups are full lets the next one go first.
pub fn map_limited<T: Sync, R: Send>(
    threads: usize,
    limits: &[usize],
    items: &[T],
    groups: impl Fn(&T) -> Vec<usize> + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let waiting = items.iter().map(&groups).enumerate().collect();
    let turns = Mutex::new(Turns { waiting, at_work: vec![0; limits.len()], done: BTreeMap::new() });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1).min(items.len()) {
            scope.spawn(|| {
                let mut state = turns.lock().unwrap_or_else(PoisonError::into_inner);
                while !state.waiting.is_empty() {
                    let Some((at, of)) = state.next(limits) else {
                        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                        continue;
                    };
                    drop(state);
                    let result = items.get(at).map(&work);
                    state = turns.lock().unwrap_or_else(PoisonError::into_inner);
                    state.done.extend(result.map(|result| (at, result)));
                    of.iter().for_each(|group| state.count(*group, -1));
                    changed.notify_all();
                }
            });
        }
    });
    turns.into_inner().unwrap_or_else(PoisonError::into_inner).done.into_values().collect()
}

/// The waiting items with their groups, the number of running items per group, and the results.
struct Turns<R> {
    waiting: VecDeque<(usize, Vec<usize>)>,
    at_work: Vec<usize>,
    done: BTreeMap<usize, R>,
}

impl<R> Turns<R> {
    /// The first item whose groups have room.
    fn next(&mut self, limits: &[usize]) -> Option<(usize, Vec<usize>)> {
        let room = |group: &usize| self.at_work.get(*group) < limits.get(*group).map(|limit| (*limit).max(1)).as_ref();
        let place = self.waiting.iter().position(|(_, groups)| groups.iter().all(room))?;
        let next = self.waiting.remove(place)?;
        next.1.iter().for_each(|group| self.count(*group, 1));
        Some(next)
    }

    fn count(&mut self, group: usize, by: isize) {
        if let Some(count) = self.at_work.get_mut(group) {
            *count = count.saturating_add_signed(by);
        }
    }
}

/// How many late items may run in addition to those that hold a slot.
const LATE: usize = 32;

/// Like `map_on`, for work that waits for machines: an item that takes longer than `patience` is late and frees its
/// slot for the next one, so that a machine that does not answer blocks no other.
pub fn map_waiting<T: Sync, R: Send>(
    places: usize,
    patience: Duration,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let queue = Queue { state: Mutex::default(), changed: Condvar::new() };
    std::thread::scope(|scope| {
        let mut state = queue.lock();
        while state.next < items.len() {
            let now = Instant::now();
            let late = state.working.values().filter(|since| now.duration_since(**since) >= patience).count();
            let free = (state.working.len() - late) < places && late < LATE;
            if let (true, Some(item)) = (free, items.get(state.next)) {
                let at = state.next;
                state.next += 1;
                state.working.insert(at, now);
                let (queue, work) = (&queue, &work);
                scope.spawn(move || {
                    let result = work(item);
                    let mut state = queue.lock();
                    state.working.remove(&at);
                    state.done.insert(at, result);
                    queue.changed.notify_one();
                });
            } else {
                // Wait until one is done, or the next one becomes late.
                let ends = state.working.values().map(|since| patience.saturating_sub(now.duration_since(*since)));
                let wait = ends.filter(|left| !left.is_zero()).min().unwrap_or(patience);
                state = queue.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    });
    queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).done.into_values().collect()
}

/// The results, the running items with their start times, and the next item.
struct Queue<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

struct State<R> {
    next: usize,
    working: BTreeMap<usize, Instant>,
    done: BTreeMap<usize, R>,
}

impl<R> Default for State<R> {
    fn default() -> Self {
        Self { next: 0, working: BTreeMap::new(), done: BTreeMap::new() }
    }
}

impl<R> Queue<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        // A panic elsewhere poisons the lock and ends the scope in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_panic_for_one_machine_is_no_other_ones() {
        let sizes = [1, u64::MAX, 2, 3];
        let work = |size: &u64| super::alone(|| Ok(std::hint::black_box(*size).checked_add(1).expect("too large")));
        let kinds = |found: Vec<crate::error::Result<u64>>| {
            found.into_iter().map(|one| one.map_err(|error| error.kind().code())).collect::<Vec<_>>()
        };
        let wanted = vec![Ok(2), Err(70), Ok(3), Ok(4)];
        assert_eq!(kinds(super::map_on(2, &sizes, work)), wanted);
        assert_eq!(kinds(super::map_waiting(1, Duration::MAX, &sizes, work)), wanted);
        assert_eq!(kinds(super::map_limited(2, &[1], &sizes, |_| vec![0], work)), wanted);
    }

    #[test]
    fn what_waits_has_so_many_places_and_no_more() {
        let items: Vec<usize> = (0..40).collect();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |item: &usize| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        };
        let found = super::map_waiting(3, Duration::MAX, &items, work);
        assert_eq!(found, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(most.into_inner() <= 3);
    }

    #[test]
    fn of_a_group_only_so_many_are_at_work_and_others_go_on() {
        // Limits: one item of group 0, two of group 1. Every fourth item is in both groups, every fourth in none. Index
        // 2 counts all items.
        let groups = |item: &usize| match item % 4 {
            0 => vec![0],
            1 => vec![1],
            2 => vec![0, 1],
            _ => Vec::new(),
        };
        let (now, most) = (Mutex::new([0, 0, 0]), Mutex::new([0, 0, 0]));
        let items: Vec<usize> = (0..40).collect();
        let work = |item: &usize| {
            let places = || groups(item).into_iter().chain([2]);
            let begun = {
                let mut now = now.lock().unwrap();
                places().for_each(|place| now[place] += 1);
                *now
            };
            let mut most = most.lock().unwrap();
            (0..3).for_each(|place| most[place] = most[place].max(begun[place]));
            drop(most);
            std::thread::yield_now();
            let mut now = now.lock().unwrap();
            places().for_each(|place| now[place] -= 1);
            item * 2
        };
        let found = super::map_limited(8, &[1, 2], &items, groups, work);
        assert_eq!(found, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let most = most.into_inner().unwrap();
        assert!(most[0] <= 1 && most[1] <= 2 && most[2] <= 8, "{most:?}");
    }

    #[test]
    fn a_group_that_waits_keeps_no_other_waiting() {
        // The first item of the group ends only when all items outside the group are done.
        let (last, heard) = channel::<()>();
        let (last, heard) = (Mutex::new(last), Mutex::new(heard));
        let items: Vec<usize> = (0..10).collect();
        let groups = |item: &usize| if *item < 3 { vec![0] } else { Vec::new() };
        let work = |item: &usize| match item {
            0 => (3..10).for_each(|_| heard.lock().unwrap().recv().unwrap()),
            1 | 2 => (),
            _ => last.lock().unwrap().send(()).unwrap(),
        };
        assert_eq!(super::map_limited(2, &[1], &items, groups, work).len(), 10);
        assert!(super::map_limited(2, &[1], &[(); 0], |()| vec![0], |()| ()).is_empty());
    }

    #[test]
    fn one_that_does_not_answer_keeps_nobody_waiting() {
        // The first two return only when all others have run.
        let (last, heard) = channel::<()>();
        let heard = Mutex::new(heard);
        let items: Vec<usize> = (0..10).collect();
        let last = Mutex::new(Some(last));
        let work = |item: &usize| match item {
            0 | 1 => drop(heard.lock().unwrap().recv()),
            9 => drop(last.lock().unwrap().take()),
            _ => (),
        };
        assert_eq!(super::map_waiting(1, Duration::from_millis(20), &items, work).len(), 10);
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(super::map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }
}
