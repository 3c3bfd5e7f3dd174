//! Checks from the git history whether a file without a seal can be the secret of its name.

use crate::adapters::git::age_history::AgeHistory;
use crate::commands::Session;
use crate::domain::drift::rekey_plan::{RekeyPlan, Reseal, Why};
use crate::domain::migrate::agenix;
use crate::domain::name::FileName;
use crate::domain::secret::age_header::Mac;
use crate::domain::secret::inventory::Inventory;
use crate::error::{Error, Result};

/// Fails unless every file to adopt can be the secret of its name. Anyone who can write to the repository could put the
/// file of another secret there, and have its value sealed to the readers of this one.
///
/// Fails with `Integrity` if there is evidence against a file, and with `Incomplete` if the history is shallow.
pub fn vouch(session: &Session, plan: &RekeyPlan<'_>, inventory: &Inventory) -> Result<()> {
    let adopted: Vec<&Reseal<'_>> = plan.reseal.iter().filter(|reseal| reseal.why == Why::Unsealed).collect();
    if adopted.is_empty() {
        return Ok(());
    }
    let git = session.fleet.git()?;
    let history =
        AgeHistory::of(&git).map_err(|error| error.about("the origin of a file without a seal cannot be found"))?;
    let top = git.relative(&session.fleet.root)?;
    let doubts = adopted.into_iter().filter_map(|reseal| {
        let file = &reseal.wanted.file;
        let beside = inventory.files.iter().filter(|(other, found)| *other != file && found.mac() == Some(reseal.mac));
        doubt(file, reseal.mac, &top, &history)
            .or_else(|| beside.map(|(other, _)| stood_as(file, &other.path())).next())
    });
    let doubts: Vec<Error> = doubts.collect();
    if doubts.is_empty() {
        return Ok(());
    }
    let many = doubts.len();
    Err(Error::batch(format!("{many} files are not adopted; nothing was changed"), doubts))
}

/// Returns evidence in the history that a file without a seal is not the secret of its name. `top` is the fleet's
/// folder, relative to the top of the work tree.
pub fn doubt(file: &FileName, mac: Mac, top: &str, history: &AgeHistory) -> Option<Error> {
    if history.sealed.contains(file) {
        let what = "there was a file with a seal of this name, and this one has none";
        return Some(Error::integrity(format!("{}: {what}", file.path())).help(format!(
            "restore that one (`git log -- {}`), or seal a new value: `sealift seal {file} --replace`",
            file.path()
        )));
    }
    let inside = |path: &str| {
        let below = if top.is_empty() { path } else { path.strip_prefix(top)?.strip_prefix('/')? };
        agenix::name_of(below)
    };
    let other = history.stood.get(&mac)?.iter().find(|path| inside(path).is_none_or(|name| name.file() != *file))?;
    Some(stood_as(file, other))
}

fn stood_as(file: &FileName, other: &str) -> Error {
    let what = format!("{}: this very file is, or was, {other} too: it may be the value of that", file.path());
    Error::integrity(what)
        .help(format!("put the right file there, or seal a value that you know: `sealift seal {file} --replace`"))
}
