//! The path, the owner and the units of a delivered file: what secrets and templates of a manifest have in common.
//! `Said` is as read from the manifest; `DeliveredFile` is checked and has only valid values.

use crate::domain::name::{SecretName, UnitName, UnixName};
use crate::domain::policy::Mode;
use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS, path_fault};
use crate::error::Error;

/// One file to install.
#[derive(Clone, Debug)]
pub struct DeliveredFile {
    pub name: SecretName,
    pub owner: UnixName,
    pub group: UnixName,
    pub mode: Mode,
    /// A symlink to the delivered file, if `path` is not the default path.
    pub link: Option<String>,
    /// Units restarted if the delivered bytes changed.
    pub restart: Vec<UnitName>,
    pub reload: Vec<UnitName>,
    /// Whether it is needed before users are created.
    pub needed_for_users: bool,
}

/// The same fields as read from a manifest.
pub(super) struct Said<'a> {
    pub name: &'a str,
    pub owner: &'a str,
    pub group: &'a str,
    pub mode: &'a str,
    pub path: &'a str,
    pub restart: &'a [String],
    pub reload: &'a [String],
    pub needed_for_users: bool,
}

impl Said<'_> {
    /// Checks all fields; records every fault with its field.
    pub fn check(&self, faults: &mut Vec<Error>) -> Option<DeliveredFile> {
        let name = take::<SecretName>(faults, "name", self.name);
        let tree = if self.needed_for_users { DELIVERED_FOR_USERS } else { DELIVERED };
        let usual = format!("{tree}/{}", self.name);
        if let Some(what) = path_fault(self.path, &usual) {
            faults.push(Error::usage(format!("path: {what}: {}", self.path)));
        }
        let mode = Mode::parse(self.mode);
        if mode.is_none() {
            faults.push(Error::usage(format!(
                "mode: not a mode for a secret: four octal digits, nothing for others: {}",
                self.mode
            )));
        }
        let root = |name: &str| name == "root" || name == "0";
        if self.needed_for_users && !(root(self.owner) && root(self.group)) {
            faults.push(Error::usage(format!(
                "owner, group: what is needed before there are users can belong to root only, not to {}:{}",
                self.owner, self.group
            )));
        }
        let mut units = |words: &[String], field: &str| {
            words.iter().filter_map(|word| take::<UnitName>(faults, field, word)).collect()
        };
        let (restart, reload) = (units(self.restart, "restart"), units(self.reload, "reload"));
        let (owner, group) = (take(faults, "owner", self.owner), take(faults, "group", self.group));
        Some(DeliveredFile {
            name: name?,
            owner: owner?,
            group: group?,
            mode: mode?,
            link: (self.path != usual).then(|| self.path.to_owned()),
            restart,
            reload,
            needed_for_users: self.needed_for_users,
        })
    }
}

/// Parses a field; records a fault with the field's name and value. A name is not shown, because it may be anything.
pub(super) fn take<T>(faults: &mut Vec<Error>, field: &str, text: &str) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let shown = if field == "name" { String::new() } else { format!(": {text}") };
    text.parse().map_err(|fault: T::Err| faults.push(Error::usage(format!("{field}: {fault}{shown}")))).ok()
}
