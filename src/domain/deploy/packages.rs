//! The difference between two closures: packages by name and version, and total sizes. Pure: closures are read
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::policy::Differ;

/// The smallest size difference, in bytes, for which a package with unchanged versions is listed; the same as Nix's.
const NOTICED: u64 = 8 << 10;
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// A store path of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub path: String,
    /// Its size; `None` if unknown.
    pub size: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageChange {
    pub name: String,
    /// Its versions before; empty if it was not there. A version may be an empty string.
    pub before: Vec<String>,
    /// Its versions after; empty if it is removed.
    pub after: Vec<String>,
    /// The change of its size.
    #[serde(default)]
    pub bytes: i64,
}

/// The sizes of two closures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub before: u64,
    pub after: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub changes: Vec<PackageChange>,
    /// The sizes of both closures, if known.
    pub closure: Option<Sizes>,
    /// The output of another diff program for the same comparison, by line.
    pub told: Option<(Differ, Vec<String>)>,
}

impl Difference {
    /// Compares two closures, given as all their store paths. `systems`: their top-level paths, which are not packages.
    pub fn between(before: &[Part], after: &[Part], systems: [&str; 2]) -> Self {
        let whole = |parts: &[Part]| parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size?));
        let closure = whole(before).zip(whole(after)).map(|(before, after)| Sizes { before, after });
        let (old, new) = (packages(before, systems), packages(after, systems));
        let names: BTreeSet<&&str> = old.keys().chain(new.keys()).collect();
        let none = Package::default();
        let change = |name: &&str| {
            let (was, is) = (old.get(*name).unwrap_or(&none), new.get(*name).unwrap_or(&none));
            let bytes = i64::try_from(is.size).unwrap_or(i64::MAX) - i64::try_from(was.size).unwrap_or(i64::MAX);
            let differs = was.versions != is.versions || bytes.unsigned_abs() >= NOTICED;
            let texts = |package: &Package<'_>| package.versions.iter().map(ToString::to_string).collect();
            differs.then(|| PackageChange { name: (*name).to_owned(), before: texts(was), after: texts(is), bytes })
        };
        Self { changes: names.into_iter().filter_map(change).collect(), closure, told: None }
    }
}

#[derive(Default)]
struct Package<'a> {
    versions: BTreeSet<&'a str>,
    size: u64,
}

/// The packages of a closure, by name. The version begins after the first dash followed by a digit, as in Nix.
fn packages<'a>(parts: &'a [Part], systems: [&str; 2]) -> BTreeMap<&'a str, Package<'a>> {
    let mut packages: BTreeMap<&str, Package<'_>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !systems.contains(&part.path.as_str())) {
        let Some((_, name)) = part.path.rsplit('/').next().and_then(|name| name.split_once('-')) else { continue };
        let digit = |at: usize| name.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
        let split = name.match_indices('-').map(|(at, _)| at).find(|at| digit(*at));
        let split = split.and_then(|at| Some((name.get(..at)?, name.get(at + 1..)?)));
        let (name, version) = split.unwrap_or((name, ""));
        let package = packages.entry(name).or_default();
        package.versions.insert(version);
        package.size = package.size.saturating_add(part.size.unwrap_or(0));
    }
    packages
}

impl PackageChange {
    /// The versions before and after; `None` if only the size differs.
    pub fn versions(&self) -> Option<String> {
        let (before, after) = (listed(&self.before), listed(&self.after));
        match (self.before.is_empty(), self.after.is_empty()) {
            (true, _) => Some(spaced(&after, "added")),
            (_, true) => Some(spaced(&before, "removed")),
            _ if self.before == self.after => None,
            _ => {
                let or = |text: String| if text.is_empty() { "no version".to_owned() } else { text };
                Some(format!("{} → {}", or(before), or(after)))
            }
        }
    }

    /// The change of its size; `None` below 1 KiB.
    pub fn grows(&self) -> Option<String> {
        (self.bytes.unsigned_abs() >= 1 << 10).then(|| signed(self.bytes))
    }

    pub fn line(&self) -> String {
        let told: Vec<String> = [self.versions(), self.grows()].into_iter().flatten().collect();
        format!("{}: {}", self.name, told.join(", "))
    }
}

fn spaced(version: &str, word: &str) -> String {
    if version.is_empty() { word.to_owned() } else { format!("{version} {word}") }
}

/// Versions as shown to a person.
pub fn listed(versions: &[String]) -> String {
    let named: Vec<&str> = versions.iter().map(String::as_str).filter(|version| !version.is_empty()).collect();
    named.join(", ")
}

impl Sizes {
    /// The difference between the two.
    pub fn grows(&self) -> i64 {
        i64::try_from(self.after).unwrap_or(i64::MAX) - i64::try_from(self.before).unwrap_or(i64::MAX)
    }

    /// As shown to a person: `4.1 → 4.2 GiB (+38 MiB)`.
    pub fn shown(&self) -> String {
        let (before, after) = (size(self.before), size(self.after));
        let whole = match (before.split_once(' '), after.split_once(' ')) {
            _ if before == after => after,
            (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} → {after}"),
            _ => format!("{before} → {after}"),
        };
        if self.before == self.after { whole } else { format!("{whole} ({})", signed(self.grows())) }
    }
}

/// A size as shown to a person, with at least two digits if the unit is larger than a byte.
pub fn size(bytes: u64) -> String {
    let mut unit = 0;
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    let (bytes, one) = (u128::from(bytes), 1_u128 << (10 * unit));
    let tenths = (bytes * 10 + one / 2) / one;
    if unit == 0 || tenths >= 100 {
        format!("{} {name}", (bytes + one / 2) / one)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

pub fn signed(bytes: i64) -> String {
    format!("{}{}", if bytes < 0 { '-' } else { '+' }, size(bytes.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closure(names: &[(&str, u64)]) -> Vec<Part> {
        let part = |(name, size): &(&str, u64)| Part { path: format!("/nix/store/aaaa-{name}"), size: Some(*size) };
        names.iter().map(part).collect()
    }

    #[test]
    fn packages_are_compared_by_name_and_version() {
        let before = closure(&[
            ("linux-6.12", 1 << 20),
            ("gcc-lib-13.2", 1),
            ("etc", 1),
            ("old-1", 1),
            ("grown-1", 0),
            ("nixos-system-web-25.05", 1),
        ]);
        let after = closure(&[
            ("linux-6.13", 3 << 20),
            ("gcc-lib-13.2", 1),
            ("etc", 2),
            ("new-tool-2.0-beta", 1),
            ("motd", 1),
            ("grown-1", 9 << 10),
            ("nixos-system-web-25.11", 1),
        ]);
        let systems = ["/nix/store/aaaa-nixos-system-web-25.05", "/nix/store/aaaa-nixos-system-web-25.11"];
        let found = Difference::between(&before, &after, systems);
        let lines: Vec<String> = found.changes.iter().map(PackageChange::line).collect();
        let wanted = [
            "grown: +9.0 KiB",
            "linux: 6.12 → 6.13, +2.0 MiB",
            "motd: added",
            "new-tool: 2.0-beta added",
            "old: 1 removed",
        ];
        assert_eq!(lines, wanted);
        let sum = |parts: &[Part]| parts.iter().filter_map(|part| part.size).sum::<u64>();
        assert_eq!(found.closure, Some(Sizes { before: sum(&before), after: sum(&after) }));
        // A host may report any size.
        let mut huge = after.clone();
        huge[0].size = Some(u64::MAX);
        let found = Difference::between(&huge, &huge[..1], systems);
        assert_eq!((found.closure, found.changes.len()), (None, 5));
        // One unknown size makes the sum unknown.
        let mut unknown = after;
        unknown[0].size = None;
        assert_eq!(Difference::between(&before, &unknown, systems).closure, None);
    }

    #[test]
    fn sizes_are_shown_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (39_900_000, "38 MiB"),
            (4_402_341_478, "4.1 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let sizes = |before, after| Sizes { before, after }.shown();
        assert_eq!(sizes(4_402_341_478, 4_442_241_478), "4.1 GiB (+38 MiB)");
        assert_eq!(sizes(4_402_341_478, 4_509_715_660), "4.1 → 4.2 GiB (+102 MiB)");
        assert_eq!(sizes(2 << 20, 1 << 10), "2.0 MiB → 1.0 KiB (-2.0 MiB)");
        assert_eq!(sizes(5, 5), "5 B");
    }
}
