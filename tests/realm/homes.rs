//! A run killed while it switches a home that is not part of the system: home and system are rolled back together. The
//! activation packages are stand-ins that stop half-way; nix, its profiles and its daemon are real.

use crate::harness::realm::{APP, Realm, cannot_realm};

/// A fleet whose machines run their first systems and jay's first home.
fn deployed(names: &[&str]) -> Realm {
    let realm = Realm::up(names);
    for name in names {
        is(&realm, name, "one");
        // The stand-in stops as jay.
        realm.shell(name, "chmod 777 /var/realm/hold /var/realm/at && chmod 666 /var/realm/go");
    }
    realm.commit();
    realm.sealift(&["deploy", "--all", "--yes"]).exits(0);
    for name in names {
        realm.is_in_order(name, "first", 2);
        assert_eq!(home(&realm, name), ONE);
    }
    realm
}

/// Sets the home on a machine.
fn is(realm: &Realm, name: &str, greeting: &str) {
    realm.sandbox.write(&format!("homes/jay@{name}.nix"), format!("{{ greeting = \"{greeting}\"; }}\n"));
}

/// What is linked, what the profile says, and which home is recorded as active.
fn home(realm: &Realm, name: &str) -> String {
    realm.shell(
        name,
        "cd /home/jay; for file in greeting one two; do [ ! -L $file ] || echo $file $(cat $file); done
         echo profile $(cat .local/state/nix/profiles/home-manager/home-files/greeting) $(ls -d .local/state/nix/profiles/home-manager-*-link | wc -l)
         echo active $(cat .local/state/home-manager/gcroots/current-home/home-files/greeting)",
    )
}

const ONE: &str = "greeting one\none one\nprofile one 1\nactive one\n";
const TWO: &str = "greeting two\ntwo two\nprofile two 2\nactive two\n";

/// A point at which a machine stops, and what is done to it there.
type Kill<'a> = (&'a str, fn(&Realm, &str));

/// Kills one machine's run at each of these points during one deploy to all of them.
fn killed(kills: &[Kill<'_>], arguments: &[&str]) {
    let names: Vec<String> = (1..=kills.len()).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let realm = deployed(&names);
    let only_homes = arguments.contains(&"--home");
    for (name, (point, _)) in names.iter().zip(kills) {
        is(&realm, name, "two");
        realm.hold(name, &format!("{}.{point}", if only_homes { "first" } else { "second" }));
    }
    if only_homes {
        realm.commit();
    } else {
        realm.changes(&names, "");
    }
    let all = [&["deploy", "--all", "--yes", "--json"], arguments].concat();
    let deploying = realm.start(&all);
    for (name, (point, kill)) in names.iter().zip(kills) {
        realm.wait_at(name, &format!("{}.{point}", if only_homes { "first" } else { "second" }));
        kill(&realm, name);
    }
    let run = deploying.ends(&realm);
    for (name, (point, _)) in names.iter().zip(kills) {
        realm.is_in_order(name, "first", 2);
        assert_eq!(home(&realm, name), ONE, "{point} on {name}");
        let told = run.results().into_iter().find(|result| result["host"] == **name);
        assert_eq!(told.unwrap_or_else(|| panic!("nothing of {name}: {}", run.text()))["outcome"], "rolled-back");
    }
    // The next deploy is not affected.
    realm.sealift(&[&["deploy", "--all", "--yes"], arguments].concat()).exits(0);
    for name in &names {
        let (mark, generations) = if only_homes { ("first", 2) } else { ("second", 3) };
        realm.is_in_order(name, mark, generations);
        assert_eq!(home(&realm, name), TWO, "{name}");
    }
}

fn worker(realm: &Realm, name: &str) {
    realm.on(name, &["kill", "-9", &realm.worker(name)]);
}

fn whole_unit(realm: &Realm, name: &str) {
    let unit = realm.shell(name, "systemctl list-units --plain --no-legend 'sealift-deploy-*' | cut -d' ' -f1");
    realm.on(name, &["systemctl", "kill", "--kill-whom=all", "--signal=KILL", unit.trim()]);
}

fn power(realm: &Realm, name: &str) {
    realm.cut_power(name);
    realm.boot(name);
}

#[test]
fn nix_a_run_that_is_killed_while_it_switches_a_home_takes_it_back_with_the_system() {
    if cannot_realm("realm: killed while a home is switched") {
        return;
    }
    killed(
        &[
            ("two.begun", worker),
            ("two.linked", worker),
            ("two.linked", whole_unit),
            ("two.begun", power),
            ("two.linked", power),
        ],
        &[],
    );
}

#[test]
fn nix_a_run_of_homes_alone_that_is_killed_takes_them_back_alone() {
    if cannot_realm("realm: killed while a home alone is switched") {
        return;
    }
    killed(&[("two.linked", worker), ("two.linked", power)], &["--home"]);
}

#[test]
fn nix_a_way_back_of_a_home_that_is_cut_is_gone_to_its_end() {
    if cannot_realm("realm: power cut on the way back of a home") {
        return;
    }
    let realm = deployed(&["web"]);
    is(&realm, "web", "two");
    // The check fails: the deploy is rolled back, and stops with part of the previous home linked.
    realm.declare("\n[checks.never]\non = [\"web\"]\nexists = \"/var/realm/wanted\"\n");
    realm.shell("web", "touch /var/realm/wanted");
    realm.has("web", "second", &format!("{APP} activation = \"/usr/bin/rm -f /var/realm/wanted\";"));
    realm.seal("token", "second", &[]);
    realm.commit();
    let deploying = realm.stopped("web", "second.one.linked", &["deploy", "web", "--yes", "--settle", "0"]);
    power(&realm, "web");
    deploying.ends(&realm).exits(6);
    realm.is_in_order("web", "first", 2);
    assert_eq!(home(&realm, "web"), ONE);
}
