//! Hosts with other names in the flake: their own systems are built, switched and inspected.

use crate::harness::rig::{Rig, cannot_rig};

#[test]
fn nix_what_is_built_has_the_name_of_the_configuration() {
    if cannot_rig("remote: hosts under other names in the flake") {
        return;
    }
    let rig = Rig::deployed(&["web", "db"]);
    let policy = rig.sandbox.read("recipients.toml");
    let policy = policy.replace("[hosts.web]", "[hosts.web]\nconfiguration = \"Web_1\"");
    let policy = policy.replace("[hosts.db]", "[hosts.db]\nconfiguration = \"db.example.org\"");
    rig.sandbox.write("recipients.toml", policy + "\n[checks.name]\nhost_name = true\n");
    let flake = rig.sandbox.read("flake.nix");
    let homes = "      homeConfigurations = import ./home.nix { inherit programs; homes = ./homes; };\n      nixosConfigurations =";
    rig.sandbox.write("flake.nix", flake.replacen("      nixosConfigurations =", homes, 1));
    let motd = |host: &str| rig.on(host, &["cat", "/run/current-system/etc/motd"]).trim().to_owned();
    let are = |mark: &str| {
        for host in ["Web_1", "db.example.org"] {
            rig.system(host, &format!("{{ etc.motd = \"{host} {mark}\"; }}"));
        }
        // The folders under the fleet's names must not be built.
        for host in ["web", "db"] {
            rig.system(host, "{ etc.motd = \"not this one\"; }");
        }
        rig.sandbox.write("homes/jay@Web_1.nix", format!("{{ greeting = \"{mark}\"; }}\n"));
        rig.sandbox.write("homes/jay@web.nix", "{ greeting = \"not this one\"; }\n");
        rig.commit();
    };

    // Both at once, then one by its name in the flake.
    are("one");
    rig.sealift(&["deploy", "--all", "--yes"]).exits(0);
    assert_eq!((motd("web"), motd("db")), ("Web_1 one".to_owned(), "db.example.org one".to_owned()));
    assert_eq!(rig.secret("web", "token"), Some(rig.sandbox.value("first")));
    assert_eq!(rig.on("web", &["cat", "/home/jay/greeting"]).trim(), "one");
    are("two");
    rig.sealift(&["deploy", "Web_1", "--yes"]).exits(0).says("web");
    assert_eq!((motd("web"), motd("db")), ("Web_1 two".to_owned(), "db.example.org one".to_owned()));
    assert_eq!(rig.on("web", &["cat", "/home/jay/greeting"]).trim(), "two");
    are("three");
    rig.sealift(&["deploy", "--host", "db.example.org", "--build-on-target", "--yes"]).exits(0);
    assert_eq!(motd("db"), "db.example.org three");
    rig.sealift(&["rollback", "Web_1"]).exits(0);
    assert_eq!(motd("web"), "Web_1 one");

    // Its host name may be either of its names, and no other.
    for (host, name, code) in [
        ("web", "Web_1", 0),
        ("web", "web", 0),
        ("web", "db", 3),
        ("db", "db.example.org", 0),
        ("db", "db", 0),
        ("db", "db.example", 3),
    ] {
        rig.on(host, &["sh", "-c", &format!("echo {name} > /proc/sys/kernel/hostname")]);
        rig.sealift(&["verify", host]).exits(code);
    }

    // A missing system is reported with the name that was looked up.
    rig.sandbox.tool("git", &["rm", "-rq", "hosts/Web_1"]);
    let run = rig.sealift(&["deploy", "web", "--yes"]).exits(1);
    run.says("nixosConfigurations.\"Web_1\"").says("that is `configuration` in [hosts.web] of recipients.toml");
}
