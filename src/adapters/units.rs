//! What systemd says of the units of a machine: whether it runs there at all, what has failed, what is active.

use std::collections::BTreeSet;

use super::process::Invocation;
use super::rooted::Root;
use crate::error::Result;
use crate::fleet::name::UnitName;

/// Whether systemd runs the machine of this root.
pub fn runs(root: &Root) -> bool {
    root.exists("/run/systemd/system")
}

fn systemctl(root: &Root) -> Invocation {
    if root.is_machine() {
        Invocation::new("systemctl")
    } else {
        Invocation::new("chroot").arg(root.path()).arg("/run/current-system/sw/bin/systemctl")
    }
}

/// The units that are failed now; none where there is no systemd to tell.
pub fn failed_units(root: &Root) -> Option<BTreeSet<String>> {
    if !runs(root) {
        return None;
    }
    let call = systemctl(root).args(["list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"]);
    let text = call.read().ok()?;
    Some(
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect(),
    )
}

/// Whether a unit is active.
///
/// # Errors
/// When systemctl cannot be started.
pub fn is_active(root: &Root, unit: &UnitName) -> Result<bool> {
    let output = systemctl(root).args(["is-active", "--", unit.as_str()]).run()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next() == Some("active"))
}
