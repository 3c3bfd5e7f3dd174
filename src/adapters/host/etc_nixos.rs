//! `/etc/nixos` as a symlink to the flake's directory, on request. One system call puts it in place and moves a real
//! directory aside. What was there is recorded first, so that a rollback can restore it.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::{Deserialize, Serialize};

use crate::adapters::fs::files::{self, Durable};
use crate::adapters::fs::root::{EntryKind, Root};
use crate::adapters::host::run_dir;
use crate::error::{Error, Result};

const PLACE: &str = "/etc/nixos";
/// What was there before, while the symlink is ours.
const RECORD: &str = "/var/lib/sealift/etc-nixos.json";
/// The format version of that file.
const VERSION: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Former {
    Nothing,
    /// A symlink, with its target.
    Link(String),
    /// A directory, with the path that it was moved to.
    Directory(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// The target of our symlink.
    to: String,
    /// The generation that it was created with.
    generation: Option<u64>,
    former: Former,
}

/// Checks whether the symlink could be created, before anything else is done.
pub fn prepare(root: &Root, to: &str) -> Result<()> {
    let refused = |what: &str| Error::usage(format!("{PLACE} cannot lead to {to}: {what}"));
    let plain = to.starts_with('/') && to.len() < 1024 && !to.chars().any(char::is_control);
    let whole = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !plain || !to.split('/').skip(1).all(whole) {
        return Err(refused("it is not an absolute path without `.` and `..`"));
    }
    if !root.exists(&format!("{to}/flake.nix")) {
        return Err(refused("there is no flake.nix there")
            .help("name the folder of the flake on that machine: `--link-etc-nixos=DIR`"));
    }
    let real = root.resolved(to).unwrap_or_default();
    let inside = |path: &str| path == PLACE || path.starts_with("/etc/nixos/");
    // If a symlink is already there, the directory can still be right.
    if inside(to) || (inside(&real) && root.kind(PLACE) == Some(EntryKind::Directory)) {
        return Err(refused("it would lead to itself").help("move the repository out of /etc/nixos first"));
    }
    if root.kind(PLACE) == Some(EntryKind::Other) {
        return Err(Error::failed(format!("{PLACE} is neither a directory nor a link")).help("move it away"));
    }
    let above = root.writable("/etc")?;
    accessat(CWD, &above, Access::WRITE_OK, AtFlags::empty()).map_err(|error| {
        Error::io(format!("{} cannot be written", above.display()), error)
            .help("where /etc is read-only, name the flake each time: `--flake DIR`")
    })
}

/// Creates the symlink. Returns a message on what was done; `None` if there was nothing to do.
pub fn link(root: &Root, to: &str, generation: Option<u64>) -> Result<Option<String>> {
    if root.link(PLACE).as_deref() == Some(to) {
        return Ok(None);
    }
    begun(root)?;
    let former = match root.kind(PLACE) {
        None => Former::Nothing,
        Some(EntryKind::Link) => Former::Link(root.link(PLACE).unwrap_or_default()),
        Some(_) => Former::Directory(format!("{PLACE}.before-sealift-{}", run_dir::now().replace([':', '-'], ""))),
    };
    let place = root.writable(PLACE.rsplit_once('/').map_or(PLACE, |(above, _)| above))?.join("nixos");
    let record = Record { version: VERSION, to: to.to_owned(), generation, former };
    write(root, &record)?;
    let told = match &record.former {
        Former::Directory(aside) => {
            // Create the symlink under the directory's new name, then swap the two.
            let link = root.outside(aside);
            rustix::fs::symlink(to, &link)
                .map_err(|error| Error::io(format!("cannot make {}", link.display()), error))?;
            files::exchange(&link, &place).inspect_err(|_| {
                // Our own symlink, not in use yet.
                let _left = files::remove(&link);
            })?;
            format!("{PLACE} leads to {to}; the directory that was there is {aside}")
        }
        Former::Nothing | Former::Link(_) => {
            files::swap_link(&place, to)?;
            format!("{PLACE} leads to {to}")
        }
    };
    Ok(Some(told))
}

/// Restores what was there before the symlink, once a generation older than the symlink's is running. Returns a message
/// on what was done, if anything.
pub fn restore(root: &Root, generation: Option<u64>) -> Result<Option<String>> {
    let Some(record) = read(root)? else { return Ok(None) };
    if generation >= record.generation || begun(root)? {
        return Ok(None);
    }
    let place = root.outside(PLACE);
    let told = if root.link(PLACE).as_deref() == Some(&record.to) {
        match &record.former {
            Former::Nothing => {
                files::remove(&place)?;
                format!("{PLACE} is gone again")
            }
            Former::Link(to) => {
                files::swap_link(&place, to)?;
                format!("{PLACE} leads to {to} again")
            }
            Former::Directory(aside) => {
                if root.kind(aside) != Some(EntryKind::Directory) {
                    return Err(Error::failed(format!(
                        "{PLACE} cannot be brought back: {aside} is not there any more"
                    )));
                }
                let aside = root.outside(aside);
                files::exchange(&aside, &place)?;
                files::remove(&aside)?;
                format!("{PLACE} is the directory that it was")
            }
        }
    } else {
        format!("{PLACE} was changed by somebody else, and stays as it is")
    };
    files::remove(&root.outside(RECORD))?;
    Ok(Some(told))
}

/// Whether a run was killed between recording a directory and swapping it with the symlink. If so, removes the symlink
/// at the directory's new name, and the record.
fn begun(root: &Root) -> Result<bool> {
    let Some(Record { former: Former::Directory(aside), .. }) = read(root)? else { return Ok(false) };
    if root.kind(&aside) != Some(EntryKind::Link) {
        return Ok(false);
    }
    files::remove(&root.outside(&aside))?;
    files::remove(&root.outside(RECORD)).map(|()| true)
}

fn read(root: &Root) -> Result<Option<Record>> {
    let Some(text) = root.read(RECORD)? else { return Ok(None) };
    let record: Record = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("{RECORD} is not understood")).because(error))?;
    if record.version != VERSION {
        return Err(Error::failed(format!("{RECORD} is of another version")).help("use a newer sealift"));
    }
    Ok(Some(record))
}

fn write(root: &Root, record: &Record) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|error| Error::failed("cannot write a record").because(error))?;
    let path = root.writable(RECORD)?;
    files::replace(Path::new(&path), &text, 0o644, Durable::Now)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let place = tempfile::tempdir().unwrap();
        for folder in ["etc", "home/jay/dotfiles", "var/lib/sealift"] {
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        files::create(&place.path().join("home/jay/dotfiles/flake.nix"), b"{ }", 0o644).unwrap();
        let root = Root::open(place.path()).unwrap();
        (place, root)
    }

    const TO: &str = "/home/jay/dotfiles";

    #[test]
    fn a_directory_is_moved_aside_and_comes_back() {
        let (place, root) = root();
        std::fs::create_dir(place.path().join("etc/nixos")).unwrap();
        files::create(&place.path().join("etc/nixos/configuration.nix"), b"mine", 0o644).unwrap();
        prepare(&root, TO).unwrap();
        let told = link(&root, TO, Some(7)).unwrap().unwrap();
        assert!(told.contains("/etc/nixos.before-sealift-"), "{told}");
        assert_eq!(root.link(PLACE).as_deref(), Some(TO));
        let aside = root.list("/etc").into_iter().find(|name| name.starts_with("nixos.before")).unwrap();
        assert_eq!(root.text(&format!("/etc/{aside}/configuration.nix")).as_deref(), Some("mine"));
        // A second time there is nothing to do. Later generations keep the symlink.
        assert_eq!(link(&root, TO, Some(8)).unwrap(), None);
        assert_eq!(restore(&root, Some(7)).unwrap(), None);
        assert!(restore(&root, Some(6)).unwrap().is_some());
        assert_eq!(root.text("/etc/nixos/configuration.nix").as_deref(), Some("mine"));
        assert_eq!(root.list("/etc"), ["nixos"]);
        assert_eq!(restore(&root, Some(5)).unwrap(), None, "once");
    }

    #[test]
    fn a_link_or_nothing_comes_back_and_what_somebody_else_made_stays() {
        let (place, root) = root();
        let at = place.path().join("etc/nixos");
        link(&root, TO, Some(2)).unwrap();
        restore(&root, Some(1)).unwrap();
        assert_eq!(root.kind(PLACE), None);
        symlink("/elsewhere", &at).unwrap();
        link(&root, TO, Some(2)).unwrap();
        restore(&root, Some(1)).unwrap();
        assert_eq!(root.link(PLACE).as_deref(), Some("/elsewhere"));
        link(&root, TO, Some(2)).unwrap();
        std::fs::remove_file(&at).unwrap();
        symlink("/theirs", &at).unwrap();
        assert!(restore(&root, Some(1)).unwrap().unwrap().contains("somebody else"));
        assert_eq!(root.link(PLACE).as_deref(), Some("/theirs"));
    }

    #[test]
    fn a_run_that_was_killed_half_way_leaves_the_directory_and_nothing_else() {
        for again in [true, false] {
            let (place, root) = root();
            std::fs::create_dir(place.path().join("etc/nixos")).unwrap();
            // The state after the symlink was created, before the swap.
            let aside = "/etc/nixos.before-sealift-then";
            let former = Former::Directory(aside.to_owned());
            write(&root, &Record { version: VERSION, to: TO.to_owned(), generation: Some(2), former }).unwrap();
            symlink(TO, root.outside(aside)).unwrap();
            if again {
                link(&root, TO, Some(3)).unwrap();
                assert_eq!(root.kind(aside), None);
                restore(&root, Some(2)).unwrap();
            } else {
                assert_eq!(restore(&root, Some(1)).unwrap(), None);
            }
            assert_eq!(root.list("/etc"), ["nixos"]);
            assert_eq!(root.kind(PLACE), Some(EntryKind::Directory));
            assert!(read(&root).unwrap().is_none());
        }
    }

    #[test]
    fn what_would_lead_astray_is_refused() {
        let (place, root) = root();
        for bad in [
            "home/jay/dotfiles",
            "/home/jay/../jay/dotfiles",
            "/home/jay",
            "/etc/nixos",
            "/home/jay/dotfiles\n",
            "/nowhere",
        ] {
            assert!(prepare(&root, bad).is_err(), "{bad:?}");
        }
        // The flake is inside the directory that would be moved.
        std::fs::create_dir_all(place.path().join("etc/nixos/sub")).unwrap();
        files::create(&place.path().join("etc/nixos/sub/flake.nix"), b"{ }", 0o644).unwrap();
        symlink("/etc/nixos/sub", place.path().join("home/jay/link")).unwrap();
        assert!(prepare(&root, "/etc/nixos/sub").is_err() && prepare(&root, "/home/jay/link").is_err());
    }
}
