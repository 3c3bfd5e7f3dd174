//! What is looked for exactly: the values themselves where they could be opened, else their keyed index.

use crate::domain::scan::index::Index;
use crate::domain::scan::values::Values;

/// What is looked for exactly.
pub enum Wanted {
    /// The values.
    Values(Values),
    /// What is known of them without opening one.
    Index(Index),
}

impl Wanted {
    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        match self {
            Wanted::Values(values) => values.is_empty(),
            Wanted::Index(index) => index.is_empty(),
        }
    }

    /// Tells each text that begins in `from..to`: whose it is, where, how long. Whether all of it was looked at.
    #[must_use]
    pub fn each(&self, text: &[u8], from: usize, to: usize, found: impl FnMut(u32, usize, usize)) -> bool {
        match self {
            Wanted::Values(values) => {
                values.each(text, from, to, found);
                true
            }
            Wanted::Index(index) => index.each(text, from, to, found),
        }
    }
}
