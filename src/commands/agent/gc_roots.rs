//! GC roots for the systems, homes and manifests of a run.

use crate::adapters::fs::files;
use crate::adapters::fs::root::Root;
use crate::adapters::host::{closure, profile};
use crate::commands::agent::journal::Saved;
use crate::domain::deploy::protocol::Switch;
use crate::error::Result;

/// The folder and name prefix of the GC roots that last until the run ends.
const KEPT: &str = "/nix/var/nix/gcroots";
const KEPT_AS: &str = "sealift-run-";

pub fn point(root: &Root, link: &str, target: &str) -> Result<()> {
    let path = root.writable(link)?;
    if let Some(folder) = path.parent() {
        files::make_directory(folder)?;
    }
    files::swap_link(&path, target)
}

/// Adds GC roots for the systems and homes of a run.
pub fn keep(root: &Root, switch: &Switch, saved: &Saved) -> Result<()> {
    let link = |name: &str| format!("{KEPT}/{KEPT_AS}{name}");
    point(root, &link("new"), &switch.system)?;
    saved.system.iter().try_for_each(|system| point(root, &link("former"), system))?;
    let homes = switch.homes.iter().map(|home| (format!("home-{}", home.user), &home.package));
    let previous =
        saved.homes.iter().filter_map(|home| Some((format!("home-{}-former", home.user), home.active.as_ref()?)));
    homes.chain(previous).try_for_each(|(name, package)| point(root, &link(&name), package))
}

pub fn let_go(root: &Root) {
    for name in root.list(KEPT).iter().filter(|name| name.starts_with(KEPT_AS)) {
        // A link that cannot be removed only keeps a store path until the next run.
        let _left = files::remove(&root.outside(&format!("{KEPT}/{name}")));
    }
}

/// Removes the GC roots of manifests delivered with systems that are neither running nor in a generation.
pub fn forget_bundles(root: &Root) {
    let mut used: Vec<String> =
        profile::generations(root).into_iter().filter_map(|generation| generation.leads_to).collect();
    used.extend(root.store_path(closure::RUNNING));
    for name in root.list(closure::BUNDLES) {
        if !used.iter().any(|system| system.ends_with(&format!("/{name}"))) {
            // A link that cannot be removed only keeps a store path; the next run tries again.
            let _left = files::remove(&root.outside(&format!("{}/{name}", closure::BUNDLES)));
        }
    }
}
