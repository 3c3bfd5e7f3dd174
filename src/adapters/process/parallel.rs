//! The same work on many items, on the machine's cores or for many machines: results in the items' order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many threads at most.
const THREADS: usize = 16;

/// How many threads work that uses the cores is done on.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// Does the work on every item, on as many threads as there are cores.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_on(threads(), items, work)
}

/// Does the work on every item, on this many threads: for work that mostly waits for others.
pub fn map_on<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads.min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
                {
                    let result = work(item);
                    // A lock is only poisoned by a panic elsewhere, which ends the scope in any case.
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// How many items may be late at once beside those that have a place.
const LATE: usize = 32;

/// As `map_on`, for work that waits for machines: an item that is not done within `patience` is late, and gives its place
/// to the next one, so that a machine that does not answer keeps nobody else waiting.
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
                // Until one is done, or the next one is late.
                let ends = state.working.values().map(|since| patience.saturating_sub(now.duration_since(*since)));
                let wait = ends.filter(|left| !left.is_zero()).min().unwrap_or(patience);
                state = queue.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    });
    queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).done.into_values().collect()
}

/// What is done, what is at work and since when, and what comes next.
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
        // A lock is only poisoned by a panic elsewhere, which ends the scope in any case.
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
    fn one_that_does_not_answer_keeps_nobody_waiting() {
        // The first two answer only once all others were asked.
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
