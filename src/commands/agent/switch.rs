//! Checks a request to switch on this machine: its validity, the system it activates, and what is delivered.

use crate::adapters::fs::root::Root;
use crate::adapters::host::closure;
use crate::adapters::nix::store;
use crate::domain::deploy::diff::{Action, Facts};
use crate::domain::deploy::home::unit_of;
use crate::domain::deploy::protocol::Switch;
use crate::error::{Error, Result};

/// Returns the facts of the system that a request activates.
///
/// Fails if the request is invalid: it names no system, or the plan no longer applies.
pub fn sound(root: &Root, switch: &Switch) -> Result<Facts> {
    if !closure::is_store_path(&switch.system) {
        return Err(Error::usage("what is to be activated is not a store path"));
    }
    // Root reads a manifest from there and protects it from garbage collection.
    if switch.bundle.as_ref().is_some_and(|bundle| !closure::is_store_path(bundle)) {
        return Err(Error::usage("what is to be delivered is not a store path"));
    }
    if switch.homes.iter().any(|home| !closure::is_store_path(&home.package)) {
        return Err(Error::usage("what is to become a home is not a store path"));
    }
    if let Some(name) = switch.specialisation.as_ref().filter(|_| activated(root, switch) == switch.system) {
        return Err(Error::failed(format!("{} has no specialisation {name}", switch.system)));
    }
    let running = root.store_path(closure::RUNNING);
    // The running system is in the store: a GC root points at it.
    if running.as_ref() != Some(&switch.system) {
        store::check_valid(root, &switch.system)?;
    }
    let facts = closure::facts(root, &activated(root, switch))?;
    if running != switch.expected {
        return Err(Error::failed("the running system has changed since the plan was made")
            .help("nothing was changed; run this again to see the new plan"));
    }
    if switch.action == Action::DryActivate {
        return Ok(facts);
    }
    for home in &switch.homes {
        store::check_valid(root, &home.package)?;
        if facts.units.contains_key(&unit_of(&home.user)) {
            return Err(Error::usage(format!(
                "the home of {} comes with the system, and is not switched by itself",
                home.user
            )));
        }
        if !root.is_machine() {
            return Err(Error::usage("homes are switched only on a running machine, not below `--root`"));
        }
    }
    Ok(facts)
}

/// Returns the system to activate: the requested one, or its selected specialisation.
pub fn activated(root: &Root, switch: &Switch) -> String {
    let name = switch.specialisation.as_ref();
    let kept = name.and_then(|name| closure::specialisations(root, &switch.system).remove(name));
    kept.unwrap_or_else(|| switch.system.clone())
}

/// Returns the path of the manifest: the system's own, or the one delivered along with it.
pub fn manifest(root: &Root, switch: &Switch) -> Option<String> {
    let along = switch.bundle.as_ref().map(|bundle| format!("{bundle}/manifest.json"));
    let own = format!("{}/{}", activated(root, switch), closure::MANIFEST);
    root.exists(&own).then_some(own).or(along)
}

/// Whether the agent installs the secrets instead of the system's own unit, because that system has no unit, or because
/// no running system could start it.
pub fn installs(root: &Root, switch: &Switch, facts: &Facts, first: bool) -> bool {
    let now = matches!(switch.action, Action::Test | Action::Switch) && manifest(root, switch).is_some();
    let now = now && !switch.only_homes;
    now && (first || (switch.live && !facts.has_unit))
}
