//! What the policy asks for and is not there, and whether git has it.

use crate::adapters::repository::Fleet;
use crate::domain::drift::lacking::Lacking;
use crate::domain::policy::Wanted;

/// How each of these files gets a value, or comes back.
pub fn lacking<'a>(fleet: &Fleet, wanted: impl IntoIterator<Item = &'a Wanted<'a>>) -> Vec<Lacking> {
    let wanted: Vec<&Wanted<'_>> = wanted.into_iter().collect();
    let paths: Vec<_> = wanted.iter().map(|wanted| fleet.root.join(wanted.file.path())).collect();
    // Where git cannot be asked, it brings nothing back.
    let committed = fleet.git().and_then(|git| git.are_committed(&paths)).unwrap_or_else(|_| vec![false; paths.len()]);
    wanted.into_iter().zip(committed).map(|(wanted, committed)| Lacking::of(wanted, committed)).collect()
}
