//! Files of a previous layout that have been replaced: names in, names out. A file that a Nix file still refers to is
//! needed, whatever its name.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::name::Configuration;

/// A file that has been replaced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Superseded {
    /// Its path from the top of the fleet.
    pub path: String,
    pub why: String,
}

/// The files that are no longer needed. `files`: the fleet's files; `named`: what each Nix file refers to; all relative
/// to the top.
pub fn superseded(
    files: &BTreeSet<String>,
    hosts: &[&Configuration],
    named: &BTreeMap<String, Vec<String>>,
) -> Vec<Superseded> {
    let mut found: BTreeMap<&String, String> =
        files.iter().filter_map(|path| Some((path, successor(path, files, hosts)?))).collect();
    // A file that is referred to by a file that stays must stay, too, and so on.
    loop {
        let names = |path: &String| {
            let by = named.iter().filter(|(by, _)| !found.contains_key(by));
            by.into_iter().any(|(_, all)| all.iter().any(|name| covers(name, path)))
        };
        let needed: Vec<&String> = found.keys().copied().filter(|path| names(path)).collect();
        if needed.is_empty() {
            break;
        }
        needed.into_iter().for_each(|path| drop(found.remove(path)));
    }
    found.into_iter().map(|(path, why)| Superseded { path: path.clone(), why }).collect()
}

/// Whether a reference to one path includes another.
fn covers(name: &str, path: &str) -> bool {
    path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}

/// Why a file is no longer needed, if something replaced it.
fn successor(path: &str, files: &BTreeSet<String>, hosts: &[&Configuration]) -> Option<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if path.starts_with("secrets/") && path != "secrets/secrets.nix" {
        return None;
    }
    let leftover = [".bak", ".backup", ".old", ".orig", ".save", "~"].iter().any(|end| name.ends_with(end));
    let in_backup = path
        .split('/')
        .rev()
        .skip(1)
        .any(|folder| folder == "backup" || folder == "backups" || folder.starts_with("backup-"));
    if leftover || in_backup {
        return Some("git keeps older versions".to_owned());
    }
    let of_all =
        |file: &str| !hosts.is_empty() && hosts.iter().all(|host| files.contains(&format!("hosts/{host}/{file}")));
    match path {
        "configuration.nix" if of_all("default.nix") => {
            return Some("each machine has its hosts/NAME/default.nix".to_owned());
        }
        "hardware-configuration.nix" if of_all("hardware-configuration.nix") => {
            return Some("each machine has its hosts/NAME/hardware-configuration.nix".to_owned());
        }
        "home.nix" if files.contains("home/common.nix") => return Some("home/common.nix took its place".to_owned()),
        "secrets.nix" | "secrets/secrets.nix" => return Some("recipients.toml says who reads what".to_owned()),
        _ => {}
    }
    hosts.iter().find_map(|host| {
        let own = format!("hosts/{host}/default.nix");
        let former = path == format!("{host}.nix")
            || path == format!("hosts/{host}.nix")
            || path.starts_with(&format!("{host}/"));
        (former && files.contains(&own)).then(|| format!("{own} took its place"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str], named: &[(&str, &[&str])]) -> Vec<String> {
        let (web, db): (Configuration, Configuration) = ("web".parse().unwrap(), "db".parse().unwrap());
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        let named = named
            .iter()
            .map(|(by, all)| ((*by).to_owned(), all.iter().map(|name| (*name).to_owned()).collect()))
            .collect();
        superseded(&files, &[&web, &db], &named).into_iter().map(|one| one.path).collect()
    }

    const NEW: [&str; 5] = [
        "flake.nix",
        "hosts/db/default.nix",
        "hosts/web/default.nix",
        "hosts/web/hardware-configuration.nix",
        "secrets/token.age",
    ];

    #[test]
    fn what_has_a_successor_goes_and_nothing_else() {
        let old = [
            "configuration.nix",
            "hardware-configuration.nix",
            "hosts/web.nix",
            "web/default.nix",
            "modules/a.nix.bak",
            "backup-20240101/etc/x.nix",
            "secrets.nix",
            "notes.md",
            "secrets/old.age.bak",
            "other/default.nix",
        ];
        assert_eq!(
            found(&[&NEW[..], &old[..]].concat(), &[]),
            [
                "backup-20240101/etc/x.nix",
                "configuration.nix",
                "hosts/web.nix",
                "modules/a.nix.bak",
                "secrets.nix",
                "web/default.nix"
            ],
            "one machine has no hardware-configuration.nix of its own yet"
        );
        assert!(found(&["configuration.nix", "hosts/web/default.nix"], &[]).is_empty(), "db has nothing yet");
    }

    #[test]
    fn what_is_named_stays_and_what_that_names() {
        let files = [&NEW[..], &["web/default.nix", "web/part.nix", "configuration.nix", "a.bak"]].concat();
        let named: [(&str, &[&str]); 3] = [
            ("hosts/web/default.nix", &["web/default.nix"]),
            ("web/default.nix", &["web/part.nix"]),
            ("configuration.nix", &["a.bak"]),
        ];
        assert_eq!(found(&files, &named), ["a.bak", "configuration.nix"]);
        let by_folder: [(&str, &[&str]); 1] = [("flake.nix", &["web"])];
        assert_eq!(found(&files, &by_folder), ["a.bak", "configuration.nix"]);
    }
}
