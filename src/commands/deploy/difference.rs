//! The difference between the running system of a host and the new one, found where both are known, without copying
//! either.

use std::path::Path;

use crate::adapters::fs::root::Root;
use crate::adapters::nix::{differ, store};
use crate::commands::agent::caller::Caller;
use crate::commands::hosts::connection::{Target, Transport};
use crate::commands::talk::{Event, Talk};
use crate::domain::deploy::host_facts::Question;
use crate::domain::deploy::packages::{Difference, Part};
use crate::domain::policy::Differ;
use crate::error::{Error, Result};

/// Compares the two systems. `there` says that the new system is in the host's store and not in this machine's.
/// `program` compares instead of sealift.
pub fn between(
    target: &Target,
    caller: &Caller,
    coming: &str,
    there: bool,
    program: Option<Differ>,
    talk: &dyn Talk,
) -> Result<Difference, String> {
    let Some(previous) = &target.survey.former else { return Err("no system is running there".to_owned()) };
    if previous == coming {
        return Ok(Difference::default());
    }
    let told = |error: Error| error.message().to_owned();
    let here = Root::open(Path::new("/")).map_err(told)?;
    let (before, after, local) = match &target.transport {
        Transport::Local(root) => {
            let (before, after) = (store::contents(root, previous), store::contents(root, coming));
            (before.map_err(told)?, after.map_err(told)?, root.is_machine())
        }
        Transport::Remote(_) if !there => {
            let after = store::contents(&here, coming).map_err(told)?;
            // The running system of the host may have been built here too.
            let known = here.exists(previous).then(|| store::contents(&here, previous).ok()).flatten();
            let local = known.is_some();
            (known.map_or_else(|| running(target, caller), Ok).map_err(told)?, after, local)
        }
        Transport::Remote(_) => {
            let question = Question { coming: Some(coming.to_owned()), closure: true };
            let survey = target.survey(caller, question).map_err(told)?;
            if survey.coming_closure.is_empty() {
                return Err("both systems are on the host, whose sealift is too old to compare them".to_owned());
            }
            let after = parts(survey.coming_closure, &survey.coming_sizes);
            (parts(survey.closure, &survey.sizes), after, false)
        }
    };
    let mut found = Difference::between(&before, &after, [previous, coming]);
    match program {
        Some(program) if local => match differ::told_by(program, previous, coming) {
            Ok(lines) => found.told = Some((program, lines)),
            Err(error) => {
                talk.event(Event::Warning(format!(
                    "{program} could not compare, so sealift does: {}",
                    error.message()
                )));
            }
        },
        Some(program) => talk.event(Event::Note(format!(
            "{program} compares only what is in this machine's store: for {}, sealift compares",
            target.shown()
        ))),
        None => {}
    }
    Ok(found)
}

/// Asks the host for the store paths of its running system.
fn running(target: &Target, caller: &Caller) -> Result<Vec<Part>> {
    let survey = target.survey(caller, Question { coming: None, closure: true })?;
    Ok(parts(survey.closure, &survey.sizes))
}

fn parts(paths: Vec<String>, sizes: &[u64]) -> Vec<Part> {
    paths.into_iter().enumerate().map(|(at, path)| Part { path, size: sizes.get(at).copied() }).collect()
}
