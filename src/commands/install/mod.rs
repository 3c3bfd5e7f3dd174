//! `install`: decrypts a host's secrets with its own key and places them where services read them. Everything is
//! decrypted in memory first; then one rename makes the new generation live.

mod check;
mod compare;
mod open;
mod place;
mod request;
mod stage;
mod undo;
mod units;

use std::sync::Arc;

use crate::adapters::signals;
use crate::commands::install::request::take_lock;
use crate::commands::talk::Talk;
use crate::error::{Kind, Result};

pub use crate::commands::install::check::check;
pub use crate::commands::install::compare::compare;
pub use crate::commands::install::open::Owners;
pub use crate::commands::install::request::{Report, Request, Strict, status};
pub use crate::commands::install::stage::stage;
pub use crate::commands::install::undo::{clear, undo};

/// Decrypts all secrets and puts them in place.
///
/// After an error nothing has changed. In strict mode every failure is an error; otherwise a secret that does not open
/// is only reported.
pub fn run(request: &Request, talk: &Arc<dyn Talk>) -> Result<Report> {
    // A manifest that cannot be read must not even create a lock file.
    let loaded = open::load(request)?;
    let run = request.run()?;
    let _lock = take_lock(&run, "sealift install")?;
    let live = run.live(request.tree)?;
    let opened = open::open(request, &loaded, talk, Owners::MustExist);
    let strict = match request.strict {
        Strict::Never => false,
        Strict::Always => true,
        Strict::WhenLive => run.live_generation(request.tree)?.is_some(),
    };
    if strict {
        opened.refuse_failures().map_err(|error| {
            let kind = if opened.keyless.is_some() { Kind::NoIdentity } else { Kind::Failed };
            error.of_kind(kind)
        })?;
    }
    signals::check()?;
    let placing = place::Placing { request, loaded: &loaded, opened: &opened, strict };
    place::place(&placing, &run, live, talk)
}
