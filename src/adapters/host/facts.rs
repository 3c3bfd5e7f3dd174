//! Gathers the facts about a machine that `doctor` judges, as far as the current user can read them. Changes nothing.

use std::collections::BTreeMap;

use crate::adapters::fs::root::{EntryKind, Root};
use crate::adapters::host::{closure, profile, units};
use crate::adapters::process::Invocation;
use crate::domain::doctor::machine::{Boot, EtcNixos, Machine, Swap};

/// The maximum number of files checked in a home.
const FILES: usize = 5_000;
/// The maximum depth of directories in a home.
const DEPTH: usize = 24;

/// Gathers them. `keys` are the public host keys that were found.
pub fn machine(root: &Root, keys: Vec<String>) -> Machine {
    Machine {
        etc_nixos: etc_nixos(root),
        clock: jiff::Timestamp::now().as_second(),
        newest_generation: profile::generations(root).last().and_then(|last| Some(last.made?.as_second())),
        synchronised: synchronised(root),
        swaps: swaps(root),
        boot: boot(root),
        keys,
        clobbered: clobbered(root),
        failed: units::failing_units(root),
    }
}

fn etc_nixos(root: &Root) -> EtcNixos {
    const PLACE: &str = "/etc/nixos";
    if root.is_loop(PLACE) {
        return EtcNixos::Loop(PLACE.to_owned());
    }
    let link = root.link(PLACE);
    let real = root.resolved(PLACE);
    // A symlink inside to the directory itself or one above it: following symlinks would loop.
    let inside = |name: &String| {
        let path = format!("{PLACE}/{name}");
        let to = root.link(&path)?;
        let back = root.resolved(&path).zip(real.as_deref());
        let circle = back.is_some_and(|(to, real)| {
            real.strip_prefix(to.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        Some((path, name.clone(), to, circle))
    };
    let links: Vec<_> = root.list(PLACE).iter().filter_map(inside).collect();
    if let Some((path, ..)) = links.iter().find(|(path, .., circle)| *circle || root.is_loop(path)) {
        return EtcNixos::Loop(path.clone());
    }
    match (link, root.kind(PLACE)) {
        (Some(to), _) => {
            EtcNixos::Link { to, there: real.is_some(), flake: root.exists(&format!("{PLACE}/flake.nix")) }
        }
        (None, Some(EntryKind::Directory)) => EtcNixos::Directory {
            links: links
                .into_iter()
                .filter(|(path, ..)| root.is_directory(path))
                .map(|(_, name, to, _)| (name, to))
                .collect(),
        },
        _ => EtcNixos::Missing,
    }
}

/// Whether the clock is synchronised, as systemd reports it.
fn synchronised(root: &Root) -> Option<bool> {
    if !root.is_machine() || !units::runs(root) {
        return None;
    }
    let call = Invocation::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]);
    match call.read().ok()?.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn swaps(root: &Root) -> Vec<Swap> {
    let table = root.text("/proc/swaps").unwrap_or_default();
    let lines = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    lines.map(|(path, kind)| Swap { encrypted: encrypted(root, &path, &kind), path }).collect()
}

/// Whether swapped-out memory is encrypted, judged by the underlying device.
fn encrypted(root: &Root, path: &str, kind: &str) -> Option<bool> {
    let name = if kind == "partition" {
        root.resolved(path)?.rsplit('/').next()?.to_owned()
    } else {
        let (major, minor) = root.device(path)?;
        // Unknown for a file system without a block device of its own, such as btrfs.
        root.resolved(&format!("/sys/dev/block/{major}:{minor}"))?.rsplit('/').next()?.to_owned()
    };
    Some(name.starts_with("zram") || crypted(root, &name, 0))
}

/// Whether a block device, or every device it is built on, is encrypted.
fn crypted(root: &Root, name: &str, depth: usize) -> bool {
    let place = format!("/sys/class/block/{name}");
    if root.text(&format!("{place}/dm/uuid")).is_some_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let below = root.list(&format!("{place}/slaves"));
    depth < 8 && !below.is_empty() && below.iter().all(|below| crypted(root, below, depth + 1))
}

/// The boot directory, if it exists, with its free space and the size of the running kernel and initrd.
fn boot(root: &Root) -> Option<Boot> {
    let path = "/boot";
    let each = ["kernel", "initrd"].map(|part| root.size(&format!("{}/{part}", closure::RUNNING)).unwrap_or(0));
    Some(Boot { path: path.to_owned(), free: root.free(path)?, each: each[0].saturating_add(each[1]) })
}

/// Files that block home-manager: where its unit would link, but a different file exists that is not its own link.
fn clobbered(root: &Root) -> Vec<String> {
    let folder = format!("{}/etc/systemd/system", closure::RUNNING);
    let passwd = root.text("/etc/passwd").unwrap_or_default();
    let homes: BTreeMap<&str, &str> =
        passwd.lines().filter_map(|line| Some((line.split(':').next()?, line.split(':').nth(5)?))).collect();
    let mut found = Vec::new();
    for unit in root.list(&folder) {
        let user = unit.strip_prefix("home-manager-").and_then(|rest| rest.strip_suffix(".service"));
        let Some(home) = user.and_then(|user| homes.get(user)) else { continue };
        let text = root.text(&format!("{folder}/{unit}")).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || c == '"' || c == '\'';
        if let Some(generation) =
            text.split(ends).find(|word| word.starts_with("/nix/store/") && word.ends_with("-home-manager-generation"))
        {
            let mut left = FILES;
            walk(root, &format!("{generation}/home-files"), home, DEPTH, &mut left, &mut found);
        }
    }
    found
}

fn walk(root: &Root, from: &str, to: &str, depth: usize, left: &mut usize, found: &mut Vec<String>) {
    for name in root.list(from) {
        if *left == 0 || depth == 0 {
            return;
        }
        *left -= 1;
        let (wanted, there) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let folder = root.kind(&wanted) == Some(EntryKind::Directory);
        match root.kind(&there) {
            None => {}
            Some(EntryKind::Link) if root.link(&there).is_some_and(|to| to.starts_with("/nix/store/")) => {}
            Some(_) if folder && root.is_directory(&there) => {
                walk(root, &wanted, &there, depth - 1, left, found);
            }
            Some(_) if !folder && same(root, &wanted, &there) => {}
            Some(_) => found.push(there),
        }
    }
}

/// Whether two files have the same content. home-manager leaves those alone.
fn same(root: &Root, one: &str, other: &str) -> bool {
    let size = root.size(one);
    size == root.size(other)
        && size.is_some_and(|size| size <= 1 << 20)
        && matches!((root.read(one), root.read(other)), (Ok(Some(one)), Ok(Some(other))) if one == other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let place = tempfile::tempdir().unwrap();
        for folder in ["etc", "home/jay/dotfiles/hosts/web", "proc", "run"] {
            std::fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        let root = Root::open(place.path()).unwrap();
        (place, root)
    }

    fn put(place: &Path, path: &str, text: &str) {
        let path = place.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::adapters::fs::files::replace(&path, text.as_bytes(), 0o644, crate::adapters::fs::files::Durable::Later)
            .unwrap();
    }

    #[test]
    fn what_etc_nixos_is_is_told() {
        let (place, root) = root();
        let at = |path: &str| place.path().join(path);
        assert_eq!(etc_nixos(&root), EtcNixos::Missing);
        // What the plan's `ln -sfn` does to a real directory: it creates the symlink inside.
        std::fs::create_dir(at("etc/nixos")).unwrap();
        put(place.path(), "etc/nixos/configuration.nix", "{ }");
        symlink("/home/jay/dotfiles/hosts/web", at("etc/nixos/web")).unwrap();
        symlink("/home/jay/nothing", at("etc/nixos/gone")).unwrap();
        assert_eq!(
            etc_nixos(&root),
            EtcNixos::Directory { links: vec![("web".into(), "/home/jay/dotfiles/hosts/web".into())] }
        );
        symlink("..", at("etc/nixos/back")).unwrap();
        assert_eq!(etc_nixos(&root), EtcNixos::Loop("/etc/nixos/back".into()));
        std::fs::remove_dir_all(at("etc/nixos")).unwrap();
        symlink("/etc/nixos", at("etc/nixos")).unwrap();
        assert_eq!(etc_nixos(&root), EtcNixos::Loop("/etc/nixos".into()));
        std::fs::remove_file(at("etc/nixos")).unwrap();
        symlink("/home/jay/dotfiles", at("etc/nixos")).unwrap();
        let link = |flake| EtcNixos::Link { to: "/home/jay/dotfiles".into(), there: true, flake };
        assert_eq!(etc_nixos(&root), link(false));
        put(place.path(), "home/jay/dotfiles/flake.nix", "{ }");
        assert_eq!(etc_nixos(&root), link(true));
        // The second run of the plan follows the symlink.
        symlink("/home/jay/dotfiles", at("home/jay/dotfiles/dotfiles")).unwrap();
        assert_eq!(etc_nixos(&root), EtcNixos::Loop("/etc/nixos/dotfiles".into()));
    }

    #[test]
    fn swap_is_encrypted_if_all_below_it_is() {
        let (place, root) = root();
        put(
            place.path(),
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n/dev/sda2 partition 1 0 -3\n/dev/zram0 partition 1 0 5\n",
        );
        for (path, text) in [
            ("dev/dm-1", ""),
            ("dev/sda2", ""),
            ("dev/zram0", ""),
            ("sys/class/block/dm-1/dm/uuid", "LVM-abc\n"),
            ("sys/class/block/dm-1/slaves/dm-0", ""),
            ("sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-abc\n"),
            ("sys/class/block/sda2/partition", "2"),
        ] {
            put(place.path(), path, text);
        }
        let found: Vec<_> = swaps(&root).into_iter().map(|swap| (swap.path, swap.encrypted)).collect();
        assert_eq!(
            found,
            [("/dev/dm-1".into(), Some(true)), ("/dev/sda2".into(), Some(false)), ("/dev/zram0".into(), Some(true))]
        );
    }

    #[test]
    fn what_home_manager_would_not_overwrite_is_told() {
        let (place, root) = root();
        let store = "nix/store/abc-home-manager-generation";
        put(place.path(), "etc/passwd", "jay:x:1000:100::/home/jay:/bin/sh\n");
        put(
            place.path(),
            "run/current-system/etc/systemd/system/home-manager-jay.service",
            "ExecStart=/nix/store/x-hm-setup-env /nix/store/abc-home-manager-generation\n",
        );
        for name in [".gitconfig", ".zshrc", ".config/a", ".config/b/c", ".config/new", ".same"] {
            put(place.path(), &format!("{store}/home-files/{name}"), "theirs");
        }
        put(place.path(), "home/jay/.gitconfig", "mine");
        put(place.path(), "home/jay/.config/a", "mine");
        put(place.path(), "home/jay/.config/b", "a file where a folder should be");
        put(place.path(), "home/jay/.same", "theirs");
        symlink("/nix/store/old-home-manager-files/.zshrc", place.path().join("home/jay/.zshrc")).unwrap();
        assert_eq!(clobbered(&root), ["/home/jay/.config/a", "/home/jay/.config/b", "/home/jay/.gitconfig"]);
    }
}
