//! The modules, evaluated by the real module system: the units, the manifest, and what is refused with which message.
//! Run only if `NIXPKGS_LIB` names the lib/ of a nixpkgs; `tests/fixtures/nix` stands in for the rest of NixOS.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::nix::{nixpkgs_lib, no_nix, quoted, top};
use crate::harness::{Run, Sandbox};

/// A fleet with the machine `web`, and what is needed to evaluate it.
pub struct Nixos {
    pub sandbox: Sandbox,
    lib: String,
}

impl Nixos {
    /// `None`, with a note, if it cannot be evaluated here.
    pub fn new(test: &str) -> Option<Self> {
        if no_nix(test) {
            return None;
        }
        let lib = quoted(nixpkgs_lib(test)?);
        Some(Self { sandbox: Sandbox::with_fleet(&["web@runner", "db", "nixos"]), lib })
    }

    /// An expression that evaluates `what` for the stand-in of NixOS with these modules.
    pub fn expression(&self, modules: &str, what: &str) -> String {
        format!("{} machine = {}; in {what}", self.opening(), self.machine(modules))
    }

    /// The function that makes machines, to be followed by more bindings.
    fn opening(&self) -> String {
        format!(
            "let nixos = import {} {{ libPath = {}; sealift = \"{}\"; }};",
            quoted(Path::new(top()).join("tests/fixtures/nix/nixos.nix")),
            self.lib,
            self.sandbox.package(),
        )
    }

    fn machine(&self, modules: &str) -> String {
        let named = if modules.contains("networking.hostName") { "" } else { "networking.hostName = \"web\";" };
        format!(
            "(nixos.system {{ modules = [ {} {{ sealift.fleet = {}; {named} }} {modules} ]; }})",
            quoted(Path::new(top()).join("nix/module.nix")),
            quoted(self.sandbox.fleet()),
        )
    }

    fn run(&self, modules: &str, what: &str) -> Run {
        self.sandbox.nix_eval(&self.expression(modules, what))
    }

    /// The evaluated facts of a machine with these modules.
    #[track_caller]
    pub fn seen(&self, modules: &str) -> Value {
        self.run(modules, "machine.seen").exits(0).json()
    }

    #[track_caller]
    fn failed(&self, modules: &str) -> Vec<String> {
        let value = self.run(modules, "machine.seen.failed").exits(0).json();
        serde_json::from_value(value).expect("texts")
    }

    /// Asserts that each of these modules fails one assertion, which contains all of its words. One evaluation serves
    /// all.
    #[track_caller]
    fn refuses(&self, cases: &[(String, &[&str])]) {
        let machines: Vec<String> = cases.iter().map(|(modules, _)| self.machine(modules)).collect();
        let expression = format!("{} in map (machine: machine.seen.failed) [ {} ]", self.opening(), machines.join(" "));
        let failed: Vec<Vec<String>> = serde_json::from_value(self.sandbox.nix_value(&expression)).expect("texts");
        assert_eq!(failed.len(), cases.len());
        for ((modules, words), failed) in cases.iter().zip(failed) {
            assert_eq!(failed.len(), 1, "{modules}: {failed:#?}");
            for word in *words {
                assert!(failed[0].contains(word), "{modules}: `{word}` is not in: {}", failed[0]);
            }
        }
    }
}

/// The secret of that name in the evaluated manifest.
#[track_caller]
fn secret<'a>(seen: &'a Value, name: &str) -> &'a Value {
    let secrets = seen["manifest"]["secrets"].as_array().expect("a list");
    secrets.iter().find(|secret| secret["name"] == json!(name)).expect("the secret")
}

#[test]
fn a_machine_carries_its_manifest_its_program_and_one_unit() {
    let Some(nixos) = Nixos::new("the NixOS module") else { return };
    nixos.sandbox.seal("token", &["--hosts", "@runner", "--restart", "a.service"]);
    nixos.sandbox.seal("other", &["--hosts", "db"]);
    let seen = nixos.seen("");
    assert_eq!((&seen["failed"], &seen["warnings"]), (&json!([]), &json!([])));
    let package = nixos.sandbox.package();
    let manifest = seen["etc"]["sealift/manifest.json"].as_str().expect("a path");
    assert_eq!(seen["etc"]["sealift/host"], json!(format!("{package}/bin/sealift-host")));
    let unit = format!(
        "[Unit]
After=local-fs.target systemd-sysusers.service userborn.service
Before=sysinit.target sysinit-reactivation.target shutdown.target
Conflicts=shutdown.target
Description=Install the secrets of this machine
DefaultDependencies=false
RequiresMountsFor=/etc/ssh/ssh_host_ed25519_key
RequiresMountsFor=/var/lib/sealift/identity

[Service]
CapabilityBoundingSet=CAP_CHOWN
CapabilityBoundingSet=CAP_DAC_OVERRIDE
CapabilityBoundingSet=CAP_FOWNER
CapabilityBoundingSet=CAP_SYS_ADMIN
DevicePolicy=closed
ExecStart={package}/bin/sealift-host install --strict=live {manifest}
IPAddressDeny=any
KeyringMode=private
LimitCORE=0
LockPersonality=true
MemoryDenyWriteExecute=true
NoNewPrivileges=true
ProtectClock=true
RemainAfterExit=true
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=true
RestrictRealtime=true
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=@mount
TimeoutStartSec=3min
Type=oneshot
UMask=0077
"
    );
    assert_eq!(seen["units"]["sealift-install"], json!(unit));
    assert_eq!(seen["units"].get("sealift-install-users"), None);
    // Wanted, never required: a secret that does not open must not stop a boot.
    let links = json!({ "wantedBy": ["sysinit.target"], "requiredBy": ["sysinit-reactivation.target"] });
    assert_eq!(seen["links"]["sealift-install"], links);
    assert_eq!(seen["scripts"], json!({}));
    // Without further settings it equals the program's own manifest.
    let mut ours = nixos.sandbox.sealift(&["manifest", "web"]).exits(0).json();
    ours["secrets"][0]["file"] = secret(&seen, "token")["file"].clone();
    assert_eq!(seen["manifest"], ours);
}

#[test]
fn a_fleet_is_read_once_for_machines_that_know_nothing_of_each_other() {
    let Some(nixos) = Nixos::new("a fleet is read once") else { return };
    let stats = nixos.sandbox.path("stats.json");
    let machines = format!(
        "{} in map (one: one.seen.manifest) [ {} {} ]",
        nixos.opening(),
        nixos.machine(""),
        nixos.machine("{ networking.hostName = \"db\"; }"),
    );
    let mut command = nixos.sandbox.nix_command("nix-instantiate");
    command.args(["--eval", "--strict", "--expr", &machines]);
    command.env("NIX_SHOW_STATS", "1").env("NIX_COUNT_CALLS", "1").env("NIX_SHOW_STATS_PATH", &stats);
    nixos.sandbox.run(command, b"").exits(0);
    let stats: Value = serde_json::from_slice(&std::fs::read(stats).expect("the figures")).expect("JSON");
    assert_eq!(stats["primops"]["fromTOML"], json!(1));
}

#[test]
fn a_host_is_found_by_its_name_in_the_flake() {
    let Some(nixos) = Nixos::new("hosts under other names in the flake") else { return };
    let sandbox = &nixos.sandbox;
    let add = |name: &str| {
        sandbox.ssh_key(name);
        let key = sandbox.path(&format!("keys/{name}.pub"));
        sandbox.sealift(&["host", "add", name, "--key-file", key.to_str().expect("UTF-8")]).exits(0);
    };
    let names = [("Web_1", "web-1"), ("MyHost", "myhost"), ("web.example.org", "web-example-org")];
    names.iter().for_each(|(name, _)| add(name));
    let hosts = "web-1,myhost,web-example-org";
    sandbox.sealift(&["seal", "own", "--hosts", hosts, "--per-host", "--generate", "hex"]).exits(0);
    // Found by the machine's host name, by `sealift.host`, and by the name in the fleet.
    let domain = "{ options.networking.domain = nixos.lib.mkOption { }; config.networking = { hostName = \"web\"; domain = \"example.org\"; }; }";
    let web = nixos.run(domain, "machine.config.sealift.host").exits(0).json();
    assert_eq!(web, json!("web"), "a host of that very name comes first");
    sandbox.write("recipients.toml", sandbox.read("recipients.toml").replace("[hosts.web]", "[hosts.other]"));
    for (modules, host) in [
        ("{ networking.hostName = \"Web_1\"; }", "web-1"),
        ("{ networking.hostName = \"web-1\"; }", "web-1"),
        ("{ networking.hostName = \"x\"; sealift.host = \"MyHost\"; }", "myhost"),
        (domain, "web-example-org"),
    ] {
        let seen = nixos.seen(modules);
        assert_eq!((&seen["failed"], &seen["manifest"]["host"]), (&json!([]), &json!(host)), "{modules}");
        assert_eq!(seen["manifest"]["secrets"][0]["sealed_as"], json!(format!("own/{host}")));
    }
    nixos.refuses(&[(
        "{ networking.hostName = \"web_1\"; }".to_owned(),
        &["recipients.toml has no host web_1", "sealift host add web_1"][..],
    )]);

    // mkFleet makes a system of each folder's name.
    for (name, _) in names {
        sandbox.write(
            &format!("hosts/{name}/default.nix"),
            "{ lib, ... }: { options.networking.domain = lib.mkOption { default = null; }; }\n",
        );
    }
    let machines = |what: &str| {
        sandbox.nix_eval(&format!(
            "{} machines = (import {}).mkFleet {{ fleet = {}; nixpkgs.lib = nixos.lib // {{ nixosSystem = nixos.system; }}; perHost = name: [ {{ _module.args.asked = name; }} ]; }}; in {what}",
            nixos.opening(),
            quoted(Path::new(top()).join("nix/lib.nix")),
            quoted(sandbox.fleet()),
        ))
    };
    let all = "builtins.mapAttrs (_: one: { inherit (one.seen) failed; inherit (one.config.sealift) host; inherit (one.config.networking) hostName domain; }) machines";
    let all = machines(all).exits(0).json();
    let one = |host: &str, name: &str, domain: Option<&str>| json!({ "failed": [], "host": host, "hostName": name, "domain": domain });
    assert_eq!(
        all,
        json!({
            "Web_1": one("web-1", "Web_1", None),
            "MyHost": one("myhost", "MyHost", None),
            "web.example.org": one("web-example-org", "web", Some("example.org")),
        })
    );
    // The folder named after the host is not what a deploy builds.
    sandbox.write("hosts/web-1/default.nix", "{ }\n");
    let run = machines("machines.web-1.seen.failed").exits(1);
    run.says("hosts/web-1 is the folder of a host whose configuration is Web_1").says("git mv hosts/web-1 hosts/Web_1");
}

#[test]
fn no_option_of_the_units_makes_a_mount_namespace() {
    // systemd.exec(5): these hide, bind or replace something in the file system, each in a mount namespace of the unit,
    // in which the memory for secrets would be mounted and vanish.
    const MAKE_ONE: [&str; 30] = [
        "BindPaths",
        "BindReadOnlyPaths",
        "DynamicUser",
        "ExecPaths",
        "ExtensionDirectories",
        "ExtensionImages",
        "InaccessiblePaths",
        "LoadCredential",
        "LogNamespace",
        "MountAPIVFS",
        "MountFlags",
        "MountImages",
        "NoExecPaths",
        "PrivateDevices",
        "PrivateIPC",
        "PrivateMounts",
        "PrivateNetwork",
        "PrivatePIDs",
        "PrivateTmp",
        "PrivateUsers",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProtectSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
    ];
    if no_nix("the hardening of the units") {
        return;
    }
    let hardening = quoted(Path::new(top()).join("nix/hardening.nix"));
    let set = Sandbox::new().nix_value(&format!("builtins.attrNames (import {hardening})"));
    let set: Vec<String> = serde_json::from_value(set).expect("names");
    assert!(set.len() > 10 && set.contains(&"CapabilityBoundingSet".to_owned()), "{set:?}");
    let found: Vec<_> = set
        .iter()
        .filter(|name| MAKE_ONE.contains(&name.as_str()) || name.starts_with("Root") || name.starts_with("Temporary"))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn delivery_can_be_changed_and_readers_cannot() {
    let Some(nixos) = Nixos::new("delivery that Nix changes") else { return };
    nixos.sandbox.seal("a", &["--hosts", "web", "--owner", "ann", "--mode", "0440", "--restart", "x.service"]);
    nixos.sandbox.seal("b/c.d", &["--hosts", "*"]);
    let seen = nixos.seen(
        r#"{
          users.users.bob = { };
          systemd.services = { z = { }; r = { }; c = { }; };
          sealift.secrets.a = { owner = "bob"; group = "0"; mode = "600"; path = "/etc/a"; restart = [ "y.service" ]; };
          sealift.secrets."b/c.d".units = {
            "z" = { };
            "r.service".reload = true;
            "s.socket" = { };
            "c.service" = { restart = false; credential = "c"; };
          };
          sealift.keepGenerations = 3;
          sealift.identityPaths = [ "/persist/key" ];
        }"#,
    );
    assert_eq!(seen["failed"], json!([]));
    let a = secret(&seen, "a");
    let wanted = json!({
        "name": "a", "sealed_as": "a", "file": a["file"], "owner": "bob", "group": "0", "mode": "0600", "path": "/etc/a",
        "shape": "raw", "restart": ["y.service"], "reload": [], "needed_for_users": false, "allow_unsealed": false,
    });
    assert_eq!(*a, wanted);
    let b = secret(&seen, "b/c.d");
    assert_eq!((&b["restart"], &b["reload"]), (&json!(["s.socket", "z.service"]), &json!(["r.service"])));
    assert_eq!(b["path"], json!("/run/sealift/b/c.d"));
    assert_eq!(seen["manifest"]["keep_generations"], json!(3));
    assert_eq!(seen["manifest"]["identities"], json!(["/persist/key"]));
    let unit = "[Unit]\nAfter=sealift-install.service\nWants=sealift-install.service\n\n[Service]\n";
    for name in ["z", "r"] {
        assert_eq!(seen["units"][name], json!(unit), "{name}");
    }
    assert_eq!(seen["units"]["c"], json!(format!("{unit}LoadCredential=c:/run/sealift/b/c.d\n")));
    assert_eq!(seen["units"].get("s.socket"), None);
    for fixed in ["shape = \"token\"", "file = \"/x\"", "allow_unsealed = true", "sealed_as = \"b/c.d\""] {
        nixos.run(&format!("{{ sealift.secrets.a.{fixed}; }}"), "machine.seen.manifest").exits(1).says("read-only");
    }
    nixos.run("{ sealift.secrets.a.hosts = [ \"db\" ]; }", "machine.seen.manifest").exits(1).says("does not exist");
    nixos
        .run("{ sealift.secrets.a.mode = \"0444\"; }", "machine.seen.manifest")
        .exits(1)
        .says("sealift.secrets.a.mode");
}

#[test]
fn every_mistake_is_told_with_its_mend() {
    let Some(nixos) = Nixos::new("assertions of the NixOS module") else { return };
    let sandbox = &nixos.sandbox;
    sandbox.seal("a", &["--hosts", "web"]);
    sandbox.seal("other", &["--hosts", "db"]);
    assert!(nixos.failed("").is_empty());
    // A required option of an unused service is not evaluated.
    let unused =
        "{ options.services.nextcloud.config.adminpassFile = nixos.lib.mkOption { type = nixos.lib.types.str; }; }";
    assert!(nixos.failed(unused).is_empty());
    let key = quoted(sandbox.path("keys/web"));
    let case = |modules: &str, words: &'static [&'static str]| (modules.to_owned(), words);
    nixos.refuses(&[
        case(
            "{ networking.hostName = \"wbe\"; }",
            &["recipients.toml has no host wbe", "sealift host add wbe", "known: db, nixos, web"],
        ),
        // The default of NixOS is also a host's name here, so it is unknown whether it was chosen.
        case(
            "/* no networking.hostName */",
            &["networking.hostName was left at its default, nixos", "sealift.host = "],
        ),
        case(
            "{ sealift.secrets.other.owner = \"root\"; }",
            &["the secret other is not for web", "add web to `hosts`", "sealift rekey other"],
        ),
        case("{ sealift.secrets.aa = { }; }", &["declares no secret aa", "sealift seal aa --hosts web", "known: a"]),
        case(
            "{ sealift.identityPaths = nixos.lib.mkForce [ ]; }",
            &["identityPaths is empty", "/etc/ssh/ssh_host_ed25519_key"],
        ),
        case(
            &format!("{{ sealift.identityPaths = nixos.lib.mkForce [ {key} ]; }}"),
            &["identityPaths names web by a path of the Nix store", "as a string", "sealift host rekey"],
        ),
        case(
            "{ sealift.secrets.a.owner = \"ghost\"; }",
            &["a is for the user ghost", "users.users.ghost = { … }", "DynamicUser"],
        ),
        case("{ sealift.secrets.a.group = \"ghost\"; }", &["a is for the group ghost", "users.groups.ghost"]),
        case("{ sealift.secrets.a.path = \"/nix/store/x\"; }", &["a would be found in the Nix store"]),
        case(
            "{ sealift.secrets.a.path = \"/var/a\"; sealift.templates.t = { content = \"\"; path = \"/var/a\"; }; }",
            &["a and t are both found at /var/a"],
        ),
        case(
            "{ sealift.secrets.a.path = \"/var/a\"; sealift.templates.t = { content = \"\"; path = \"/var/a/b\"; }; }",
            &["t lies in a folder that is the path of another"],
        ),
        case(
            "{ sealift.templates.t.content = \"<sealift:other>\"; }",
            &["the template t has a placeholder of other", "known: a"],
        ),
        case("{ sealift.templates.\"T x\".content = \"\"; }", &["the name of the template T x"]),
        case(
            &format!("{{ users.users.jay.hashedPasswordFile = {key}; }}"),
            &["users.users.jay.hashedPasswordFile names a file in the Nix store", "--from-file", "rotate"],
        ),
        case("{ users.users.jay.hashedPasswordFile = \"/nix/store/x\"; }", &["users.users.jay.hashedPasswordFile"]),
        case("{ sealift.fleet = nixos.lib.mkForce null; }", &["sealift.fleet is not set", "sealift.fleet = ./.;"]),
    ]);
    // Using a secret of other hosts is an error with a clear message, not a missing attribute.
    for what in ["secrets.other.path", "placeholder.other"] {
        let run = nixos.run("", &format!("machine.config.sealift.{what}"));
        run.exits(1).says("the secret other is not for web").says("sealift rekey other");
    }
    // A missing file is reported by the assertion, and wherever it is evaluated without that.
    std::fs::remove_file(sandbox.fleet().join("secrets/a.age")).expect("removed");
    nixos.refuses(&[case("", &["secrets/a.age is not in the flake", "sealift seal a", "git add secrets/a.age"])]);
    nixos.run("", "machine.seen.manifest").exits(1).says("git add secrets/a.age");
}

#[test]
fn the_commands_of_checks_are_part_of_the_system() {
    let Some(nixos) = Nixos::new("the commands of checks") else { return };
    let policy = nixos.sandbox.read("recipients.toml");
    let checks = "
[checks.all]
command = [\"true\", \"a b\"]
[checks.runners]
on = [\"@runner\"]
command = [\"true\"]
[checks.others]
on = [\"db\"]
command = [\"true\"]
[checks.name]
host_name = true
";
    nixos.sandbox.write("recipients.toml", policy + checks);
    let file = nixos.run("", "machine.config.environment.etc.\"sealift/checks.json\".source.text").exits(0).json();
    let found: Value = serde_json::from_str(file.as_str().expect("a text")).expect("it is JSON");
    assert_eq!(found, json!({ "version": 1, "commands": { "all": ["true", "a b"], "runners": ["true"] } }));
}

#[test]
fn what_users_are_made_with_comes_before_them() {
    let Some(nixos) = Nixos::new("secrets that users need") else { return };
    nixos.sandbox.seal("hash", &["--hosts", "web"]);
    let toml =
        nixos.sandbox.read("recipients.toml").replace("[secrets.hash]", "[secrets.hash]\nneeded_for_users = true");
    nixos.sandbox.write("recipients.toml", toml);
    // By default, users are created by the activation script.
    let seen = nixos.seen("");
    assert_eq!(secret(&seen, "hash")["path"], json!("/run/sealift-users/hash"));
    assert_eq!(seen["scripts"]["users"]["deps"], json!(["sealift-users"]));
    let package = nixos.sandbox.package();
    let manifest = seen["etc"]["sealift/manifest.json"].as_str().expect("a path").to_owned();
    let line = format!("PATH=/systemd/bin:$PATH {package}/bin/sealift-host install --strict=live --users {manifest}\n");
    assert_eq!(seen["scripts"]["sealift-users"], json!({ "deps": ["specialfs"], "text": line }));
    assert_eq!(seen["units"].get("sealift-install-users"), None);
    // Otherwise by a unit: ours is ordered before it, and does not wait for anything that waits for it.
    for way in ["systemd.sysusers.enable", "services.userborn.enable"] {
        let seen = nixos.seen(&format!("{{ {way} = true; }}"));
        assert_eq!(seen["scripts"], json!({}), "{way}");
        let unit = seen["units"]["sealift-install-users"].as_str().expect("a unit");
        assert!(unit.contains("Before=systemd-sysusers.service userborn.service sealift-install.service"), "{unit}");
        assert!(!unit.contains("After="), "{unit}");
        assert!(unit.contains(&format!("install --strict=live --users {manifest}\n")), "{unit}");
        assert_eq!(seen["links"]["sealift-install-users"]["wantedBy"], json!(["sysinit.target"]));
    }
    // An override in Nix changes the path too.
    let seen = nixos.seen("{ sealift.secrets.hash.needed_for_users = false; }");
    assert_eq!(secret(&seen, "hash")["path"], json!("/run/sealift/hash"));
    nixos.refuses(&[(
        "{ sealift.templates.t.content = \"<sealift:hash>\"; }".to_owned(),
        &["the template t has a placeholder of hash"],
    )]);
}

#[test]
fn templates_stand_in_the_manifest_as_text() {
    let Some(nixos) = Nixos::new("templates of the NixOS module") else { return };
    nixos.sandbox.seal("db/password", &["--hosts", "web"]);
    let seen = nixos.seen(
        r#"({ config, ... }: {
          users.users.app = { };
          systemd.services.app = { };
          sealift.templates."app.ini" = {
            content = "password=${config.sealift.placeholder."db/password"}\n";
            owner = "app";
            units = [ "app" ];
          };
        })"#,
    );
    assert_eq!(seen["manifest"]["version"], json!(2));
    let wanted = json!([{
        "name": "app.ini", "content": "password=<sealift:db/password>\n", "owner": "app", "group": "root", "mode": "0400",
        "path": "/run/sealift/app.ini", "restart": ["app.service"], "reload": [],
    }]);
    assert_eq!(seen["manifest"]["templates"], wanted);
}

#[test]
fn the_keys_that_open_are_those_of_the_host() {
    let Some(nixos) = Nixos::new("identities of the NixOS module") else { return };
    let ed25519 = ["/etc/ssh/ssh_host_ed25519_key", "/var/lib/sealift/identity"];
    assert_eq!(nixos.seen("")["manifest"]["identities"], json!(ed25519));
    // If sealed to its RSA key, nothing would open with the other one.
    let policy = nixos.sandbox.read("recipients.toml").replace("keys = [\"ssh-ed25519 ", "keys = [\"ssh-rsa ");
    nixos.sandbox.write("recipients.toml", policy);
    let both = ["/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key", "/var/lib/sealift/identity"];
    assert_eq!(nixos.seen("")["manifest"]["identities"], json!(both));
}

#[test]
fn an_admins_machine_gets_the_command_line() {
    let Some(nixos) = Nixos::new("the command line on an admin's machine") else { return };
    let packages = |modules: &str| {
        let what = "map toString machine.config.environment.systemPackages";
        nixos.run(modules, what).exits(0).json()
    };
    assert_eq!(packages(""), json!([]));
    assert_eq!(packages("{ sealift.cli.enable = true; }"), json!([nixos.sandbox.package(), "/git"]));
}

#[test]
fn a_manifest_is_looked_at_by_a_program_that_the_builder_can_run() {
    if no_nix("the program that looks at manifests") {
        return;
    }
    let checker = quoted(Path::new(top()).join("nix/checker.nix"));
    let sandbox = Sandbox::new();
    let with = |can_execute: bool, packages: &str| {
        sandbox.nix_value(&format!(
            "import {checker} {{
               program = \"/machine/bin/sealift-host\";
               pkgs = {{
                 stdenv = {{ hostPlatform = {{ }}; buildPlatform.canExecute = _: {can_execute}; }};
                 buildPackages = {packages};
               }};
             }}"
        ))
    };
    let overlaid = "{ sealift-host = \"/builder\"; }";
    assert_eq!(with(true, overlaid), json!("/machine/bin/sealift-host"));
    assert_eq!(with(false, overlaid), json!("/builder/bin/sealift-host"));
    // Without the overlay the package is called with its own arguments.
    let plain = "{ callPackage = file: { }@none: { host = \"/built\"; }; }";
    assert_eq!(with(false, plain), json!("/built/bin/sealift-host"));
}

#[test]
fn a_peer_of_the_private_network_has_a_key_and_an_address() {
    let Some(nixos) = Nixos::new("the private network of the reference fleet") else { return };
    nixos.sandbox.sealift(&["seal", "wireguard-key", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    let network = |name: &str, addresses: &str| {
        let modules = format!(
            "{} ({{ lib, ... }}: {{
               options.networking.wireguard.interfaces = lib.mkOption {{ type = lib.types.attrs; default = {{ }}; }};
               options.networking.firewall.allowedUDPPorts = lib.mkOption {{ type = lib.types.listOf lib.types.int; }};
               config = {{
                 networking.hostName = \"{name}\";
                 systemd.services.wireguard-wg0 = {{ }};
                 fleet.wireguard.addresses = lib.mkForce {addresses};
               }};
             }})",
            quoted(Path::new(top()).join("modules/wireguard.nix"))
        );
        let what = "{ inherit (machine.seen) failed;
            interfaces = builtins.mapAttrs (_: one: map (peer: peer.name) one.peers) machine.config.networking.wireguard.interfaces; }";
        nixos.run(&modules, what).exits(0).json()
    };
    let addresses = "{ web = \"10.0.0.1\"; nixos = \"10.0.0.2\"; gone = \"10.0.0.3\"; }";
    // db is new: it has a key, but no address yet.
    assert_eq!(network("web", addresses), json!({ "failed": [], "interfaces": { "wg0": ["nixos"] } }));
    assert_eq!(network("db", addresses), json!({ "failed": [], "interfaces": { } }));
    // An address alone does not make a peer either.
    std::fs::remove_file(nixos.sandbox.fleet().join("secrets/wireguard-key/nixos.pub")).expect("removed");
    assert_eq!(network("web", addresses), json!({ "failed": [], "interfaces": { "wg0": [] } }));
}

#[test]
fn public_halves_are_there_for_peers() {
    let Some(nixos) = Nixos::new("public halves") else { return };
    nixos.sandbox.sealift(&["seal", "wg", "--hosts", "*", "--per-host", "--generate", "wireguard"]).exits(0);
    let public = nixos.run("", "machine.config.sealift.public.wg").exits(0).json();
    for host in ["web", "db"] {
        let key = nixos.sandbox.read(&format!("secrets/wg/{host}.pub"));
        assert_eq!(public[host], json!(key.trim_end()));
    }
    assert_eq!(secret(&nixos.seen(""), "wg")["sealed_as"], json!("wg/web"));
}

#[test]
fn a_home_has_secrets_of_its_own() {
    let Some(nixos) = Nixos::new("the home-manager module") else { return };
    nixos.sandbox.seal("api/token", &["--hosts", "db"]);
    nixos.sandbox.seal("web", &["--hosts", "web"]);
    let home = |settings: &str| {
        let modules = format!(
            "{} {{ home-manager = {{ backupFileExtension = \"x\"; sharedModules = [ {} ]; users.jay = {settings}; }}; }}",
            quoted(Path::new(top()).join("tests/fixtures/nix/home-manager.nix")),
            quoted(Path::new(top()).join("nix/home-manager.nix")),
        );
        nixos.run(
            &modules,
            "let home = machine.config.home-manager.users.jay; in {
               failed = map (one: one.message) (builtins.filter (one: !one.assertion) home.assertions);
               paths = builtins.mapAttrs (_: one: one.path) home.sealift.secrets;
               units = home.systemd.user.services;
             }",
        )
    };
    let seen = home(
        "({ config, ... }: {
           systemd.user.services.app.Unit.Description = \"app\";
           sealift.secrets.\"api/token\".units.app.credential = \"token\";
           sealift.templates.\"app.ini\".content = \"t=${config.sealift.placeholder.\"api/token\"}\";
         })",
    );
    let seen = seen.exits(0).json();
    assert_eq!(seen["failed"], json!([]));
    assert_eq!(seen["paths"], json!({ "api/token": "/home/jay/.local/state/sealift/api/token" }));
    let install = &seen["units"]["sealift-install"];
    let start = install["Service"]["ExecStart"].as_str().expect("a line");
    assert!(start.contains("/bin/sealift-host install --strict=live --user-dir %t /nix/store/"), "{start}");
    assert_eq!(install["Install"]["WantedBy"], json!(["default.target"]));
    let links = install["Service"]["ExecStartPre"][1].as_str().expect("a line");
    assert!(links.ends_with("/bin/ln -sfnT %t/sealift /home/jay/.local/state/sealift"), "{links}");
    let app = json!({
        "Unit": { "Description": "app", "Wants": ["sealift-install.service"], "After": ["sealift-install.service"] },
        "Service": { "LoadCredential": ["token:/home/jay/.local/state/sealift/api/token"] },
    });
    assert_eq!(seen["units"]["app"], app);
    assert!(!seen.to_string().contains('$'), "no path needs a shell");
    // A user with an own key, as a named reader.
    let seen = home("{ sealift.reader = \"web\"; }").exits(0).json();
    assert_eq!(seen["paths"], json!({ "web": "/home/jay/.local/state/sealift/web" }));
    // A home that is not part of a system, made by home-manager itself.
    let alone = nixos.sandbox.nix_value(&format!(
        "let lib = import {}; in (lib.evalModules {{ modules = [ {} {{
           config = {{
             _module = {{ freeformType = lib.types.lazyAttrsOf lib.types.anything; args.pkgs = {{ }}; }};
             home.username = \"jay\";
             xdg.stateHome = \"/state\";
             sealift.fleet = {};
             sealift.secrets.web = {{ }};
           }};
         }} ]; }}).config.sealift.secrets.web.path",
        nixos.lib,
        quoted(Path::new(top()).join("nix/home-manager.nix")),
        quoted(nixos.sandbox.fleet()),
    ));
    assert_eq!(alone, json!("/state/sealift/web"));
    home("{ sealift.secrets.ghost = { }; }").exits(1).says("declares no secret ghost").says("known: api/token, web");
    let seen = home("{ sealift.secrets.web = { }; sealift.identityPaths = [ \"$HOME/key\" ]; }").exits(0).json();
    assert!(seen["failed"][0].as_str().expect("text").contains("without a variable"), "{seen}");
}

#[test]
fn the_reference_of_options_is_that_of_the_modules() {
    const TEST: &str = "docs/options.md";
    let Some(lib) = nixpkgs_lib(TEST) else { return };
    let expression =
        format!("import {} {{ lib = import {}; }}", quoted(Path::new(top()).join("nix/options-doc.nix")), quoted(&lib));
    let made = Sandbox::new().nix_value(&expression);
    let made = made.as_str().expect("text");
    let there = std::fs::read_to_string(Path::new(top()).join("docs/options.md")).expect("docs/options.md");
    assert!(there == made, "make it anew: scripts/options LIB > docs/options.md, with LIB that of nixpkgs");
}
