//! Calls to libraries on untrusted text. A panic in the library is treated as a fault of the text, and does not end the
//! program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Calls `work`; `None` if it panicked. What `work` changed must not be used then.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    DEPTH.set(DEPTH.get() - 1);
    done
}

/// Whether a panic on this thread will be caught, and reported by the code that catches it.
pub fn is_guarded() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(guarded(|| 1), Some(1));
        let none: [u8; 0] = [];
        assert_eq!(guarded(|| none[std::hint::black_box(0)]), None);
        assert!(!is_guarded() && guarded(is_guarded) == Some(true));
    }
}
