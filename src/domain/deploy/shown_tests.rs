//! How plans are shown.

use std::collections::BTreeSet;

use super::shown;
use crate::domain::deploy::diff::{Action, Commands, Reboot, UnitChanges};
use crate::domain::deploy::packages::{PackageChange, Sizes};
use crate::domain::deploy::plan::Plan;
use crate::domain::deploy::secret_changes::{Change, SecretChange};
use crate::domain::policy::Differ;

fn package(name: &str, before: &[&str], after: &[&str], bytes: i64) -> PackageChange {
    let texts = |versions: &[&str]| versions.iter().map(ToString::to_string).collect();
    PackageChange { name: name.into(), before: texts(before), after: texts(after), bytes }
}

fn plan(host: &str) -> Plan {
    let system = |hash: &str, version: &str| format!("/nix/store/{}-nixos-system-{host}-{version}", hash.repeat(32));
    let secret = SecretChange {
        name: "token".into(),
        change: Change::Changed,
        from: Some(1),
        to: Some(2),
        known_to: BTreeSet::new(),
    };
    Plan {
        host: host.parse().ok(),
        action: Action::Switch,
        system: system("b", "25.11"),
        specialisation: None,
        former: Some(system("a", "25.11")),
        versions: (Some("25.11".into()), "25.11".into()),
        packages: Vec::new(),
        changes: vec![
            package("firefox", &["133.0"], &["134.0"], 9 << 20),
            package("linux", &["6.12.1"], &["6.12.3"], 2_516_582),
            package("motd", &[], &[""], 40),
            package("old-tool", &["1.2"], &[], -(3 << 20)),
        ],
        closure: Some(Sizes { before: 4_402_341_478, after: 4_509_715_660 }),
        compared_by: None,
        not_compared: None,
        secrets: vec![secret],
        secret_units: ["app.service".to_owned()].into(),
        units: UnitChanges {
            changed: vec!["a.service".into(), "app.service".into(), "b.service".into()],
            ..UnitChanges::default()
        },
        reboot: Reboot { blocks: Vec::new(), waits: vec!["kernel 6.12.1 → 6.12.3".into()] },
        until_reboot: false,
        commands: Commands::new(),
        homes: Vec::new(),
        only_homes: false,
    }
}

fn text(plans: &[&Plan]) -> Vec<String> {
    shown(plans).iter().map(ToString::to_string).collect()
}

#[test]
fn hosts_with_the_same_change_are_told_once() {
    let (web, db) = (plan("web"), plan("db"));
    assert_eq!(
        text(&[&web, &db]),
        [
            "web, db (same change): linux 6.12.1 → 6.12.3 · 3 more packages · closure 4.1 → 4.2 GiB (+102 MiB) · 1 secret · 3 units restart · reboot needed",
            "  web: aaaaaaaa…-nixos-system-web-25.11 → bbbbbbbb…-nixos-system-web-25.11",
            "  db: aaaaaaaa…-nixos-system-db-25.11 → bbbbbbbb…-nixos-system-db-25.11",
            "  firefox  133.0 → 134.0    +9.0 MiB",
            "  linux    6.12.1 → 6.12.3  +2.4 MiB",
            "  packages added: motd",
            "  packages removed: old-tool 1.2 (-3.0 MiB)",
            "  secret ~ token (version 1 → version 2)",
            "  restarted for their secrets: app.service",
            "  units restarted: a.service, b.service",
            "  waits for a reboot: kernel 6.12.1 → 6.12.3",
            "in all: 2 hosts · closures +205 MiB · 2 secrets · 6 units restart · 2 reboots",
        ]
    );
    // Hosts whose sizes differ still have the same change; another version of a secret makes it a different one.
    let mut app = plan("app");
    app.closure = Some(Sizes { before: 1 << 30, after: (1 << 30) + (107_374_182) });
    assert!(text(&[&web, &app])[0].contains("closure +102 MiB each"), "{:#?}", text(&[&web, &app]));
    app.closure = Some(Sizes { before: 1 << 30, after: (1 << 30) + (40 << 20) });
    assert!(text(&[&web, &app])[0].contains("closure +40 MiB to +102 MiB"));
    app.secrets[0].to = Some(3);
    let apart = text(&[&web, &app, &db]);
    assert!(apart[0].starts_with("web, db (same change): ") && apart.iter().any(|line| line.starts_with("app: ")));
}

#[test]
fn one_host_has_one_total_and_says_what_does_not_change() {
    let mut web = plan("web");
    assert_eq!(text(&[&web]).iter().filter(|line| line.contains("closure")).count(), 1);
    web.former = Some(web.system.clone());
    web.changes.clear();
    web.secrets.clear();
    web.secret_units.clear();
    web.units = UnitChanges::default();
    web.reboot = Reboot::default();
    web.closure = None;
    assert_eq!(text(&[&web]), ["web: runs already · nothing changes"]);
    web.host = None;
    web.former = None;
    web.versions.0 = None;
    web.not_compared = Some("no system is running there".into());
    web.reboot.blocks.push("no system is running there".into());
    let lines = text(&[&web]);
    assert_eq!(lines[0], "this machine: NixOS 25.11 · packages not compared · takes effect at the next boot");
    assert_eq!(lines[1], "  bbbbbbbb…-nixos-system-web-25.11");
}

#[test]
fn what_another_program_tells_stands_for_the_packages() {
    let (mut web, mut db) = (plan("web"), plan("db"));
    for plan in [&mut web, &mut db] {
        plan.compared_by = Some(Differ::Nvd);
        plan.packages = vec![format!("<<< {}", plan.system), "[U.] #1  linux  6.12.1 -> 6.12.3".into()];
    }
    let lines = text(&[&web, &db]);
    assert!(lines[0].starts_with("web, db (same change): linux 6.12.1 → 6.12.3"), "{lines:#?}");
    assert_eq!(lines[3], "  packages, according to nvd:");
    assert!(lines.contains(&"    [U.] #1  linux  6.12.1 -> 6.12.3".to_owned()));
    assert!(!lines.iter().any(|line| line.starts_with("  firefox")));
}
