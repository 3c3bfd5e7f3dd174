//! The checklist of the reference fleet: every check declared in recipients.toml at the top passes on a healthy
//! machine, and each detects its own defect. Programs are replaced by files of their names; systemd, units and their
//! states are real.

use std::path::Path;

use serde_json::json;

use crate::harness::nix::top;
use crate::harness::realm::{Realm, cannot_realm};

/// The units of the fleet's machines that checks name. sshd is the machine's own.
const UNITS: [&str; 7] =
    ["display-manager", "gitea", "gitea-runner-main", "ollama", "podman-wallabag", "syncthing", "wireguard-wg0"];

/// Makes a machine pass all checks, beyond its units.
const FULFILS: &str = r#"
  set -e
  ip route replace default dev eth0
  mkdir -p /etc/profiles/per-user/jay/bin /dev/dri /root/class/drm/renderD128/device
  for name in hx yazi starship; do printf '#!/bin/sh\n' > /etc/profiles/per-user/jay/bin/$name; done
  chmod +x /etc/profiles/per-user/jay/bin/*
  touch /dev/kfd /dev/dri/renderD128
  ln -sfn ../../../bus/pci/drivers/amdgpu /root/class/drm/renderD128/device/driver
  mount --bind /root/class /sys/class
  # It reads what zsh would, and knows functions as well.
  printf '#!/bin/bash\nexec bash --rcfile ~/.zshrc "$@"\n' > /usr/bin/zsh
  chmod +x /usr/bin/zsh
  ln -sfn $(nix-store --add /root/zshrc) /home/jay/.zshrc
"#;

/// Shell commands that break one check, and that repair it again.
fn broken(check: &str, declared: &toml::Table) -> (String, String) {
    let of = |key: &str| declared.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    let bin = "/etc/profiles/per-user/jay/bin";
    let pair = |wrong: &str, right: &str| (wrong.to_owned(), right.to_owned());
    let kind = declared.keys().find(|key| !["on", "user"].contains(&key.as_str())).expect("a kind");
    match (kind.as_str(), check) {
        ("host_name", _) => pair("hostname somebody-else", "hostname nixos"),
        ("default_route", _) => pair("ip route del default", "ip route add default dev eth0"),
        ("no_failed_units", _) => {
            pair("systemd-run --quiet --wait --unit=broken false || true", "systemctl reset-failed broken")
        }
        // An sshd outside the unit keeps logins possible.
        ("unit", "remote-access") => pair(
            "systemctl stop sshd && mkdir -p /run/sshd && /usr/sbin/sshd -f /etc/ssh/sshd_config -o PidFile=/run/by-hand",
            "kill $(cat /run/by-hand) && systemctl start sshd",
        ),
        ("unit", _) => {
            let unit = of("unit");
            (format!("systemctl stop {unit}"), format!("systemctl start {unit}"))
        }
        ("login_shell", _) => pair(
            "sed -i '/^jay:/s|[^:]*$|/usr/bin/false|' /etc/passwd",
            "sed -i '/^jay:/s|[^:]*$|/bin/bash|' /etc/passwd",
        ),
        ("command", _) => pair(
            "echo 'y() { :; }' > /root/short && ln -sfn $(nix-store --add /root/short) /home/jay/.zshrc",
            "ln -sfn $(nix-store --add /root/zshrc) /home/jay/.zshrc",
        ),
        // A user's own file instead of the symlink.
        ("store_link", _) => pair(
            "rm /home/jay/.zshrc && cp /root/zshrc /home/jay/.zshrc",
            "ln -sfn $(nix-store --add /root/zshrc) /home/jay/.zshrc",
        ),
        ("program", _) => {
            let name = of("program");
            (format!("chmod -x {bin}/{name}"), format!("chmod +x {bin}/{name}"))
        }
        ("gpu", _) => pair(
            "ln -sfn ../../../bus/pci/drivers/nouveau /root/class/drm/renderD128/device/driver",
            "ln -sfn ../../../bus/pci/drivers/amdgpu /root/class/drm/renderD128/device/driver",
        ),
        ("exists", _) => {
            let path = of("exists");
            (format!("rm {path}"), format!("touch {path}"))
        }
        (other, _) => panic!("{check} is of the kind {other}, which has no way to be broken here"),
    }
}

#[test]
fn nix_each_row_of_the_checklist_holds_where_it_should_and_fails_where_not() {
    if cannot_realm("realm: the checklist of the reference fleet") {
        return;
    }
    let text = std::fs::read_to_string(Path::new(top()).join("recipients.toml")).expect("recipients.toml");
    let policy: toml::Table = text.parse().expect("TOML");
    let checks = policy["checks"].as_table().expect("checks");
    let realm = Realm::up(&["nixos"]);
    // One machine to which every check applies, and another that some of them name. Root logs in, because jay cannot
    // after jay's login shell is broken.
    let declared = realm.sandbox.read("recipients.toml").replace(
        "address = \"jay@nixos\"\n",
        "address = \"root@nixos\"\ntags = [\"desktop\", \"runner\", \"syncthing\"]\n",
    );
    realm.sandbox.write("recipients.toml", declared);
    realm.sandbox.ssh_key("framework-16");
    let key = realm.sandbox.path("keys/framework-16.pub");
    let jay = realm.sandbox.key("jay");
    let add = ["host", "add", "framework-16", "--tag", "laptop", "--identity", &jay, "--key-file"];
    realm.sandbox.sealift(&[&add[..], &[key.to_str().expect("UTF-8")]].concat()).exits(0);
    let at = text.find("\n[checks.").expect("checks");
    realm.declare(text.get(at..).expect("a tail"));

    let commands: toml::Table = checks
        .iter()
        .filter_map(|(name, check)| Some((name.clone(), check.as_table()?.get("command")?.clone())))
        .collect();
    let carried = json!({ "version": 1, "commands": commands }).to_string();
    let service = |name: &str| {
        let text = format!("[Unit]\\nDescription={name}\\n[Service]\\nExecStart=/usr/bin/sleep infinity\\n");
        format!("{name} = {{ text = \"{text}\"; }};")
    };
    let app = crate::harness::realm::APP;
    let system = |units: &[&str]| {
        let services: String = units.iter().map(|name| service(name)).collect();
        let app = app.trim_start_matches("services.app");
        format!("services = {{ app {app} {services} }}; etc.\"sealift/checks.json\" = ''{carried}'';")
    };
    realm.has("nixos", "first", &system(&UNITS));
    realm.commit();
    let functions = std::fs::read_to_string(Path::new(top()).join("dotfiles/functions")).expect("dotfiles/functions");
    std::fs::write(realm.inside("nixos", "/root/zshrc"), format!("y() {{ :; }}\n{functions}")).expect("written");
    realm.shell("nixos", FULFILS);
    // The command of a check is new with the deploy, and must pass after it.
    realm.sealift(&["deploy", "nixos", "--yes"]).exits(0);

    let well = format!("{} checks and 1 secret are as they should be", checks.len());
    realm.sealift(&["verify", "nixos"]).exits(0).says(&well);
    for (name, check) in checks {
        let (wrong, right) = broken(name, check.as_table().expect("a check"));
        realm.shell("nixos", &wrong);
        let run = realm.sealift(&["verify", "nixos"]).exits(3).prints(&format!("nixos: check {name}: "));
        let found: Vec<String> =
            run.text().lines().filter(|line| line.contains(": check ")).map(str::to_owned).collect();
        // A user who cannot log in has no shell functions either.
        let also = if name == "login" { ": check shell-functions: " } else { ": check : " };
        let other = found.iter().filter(|line| !line.contains(&format!(": check {name}: ")) && !line.contains(also));
        assert_eq!(other.count(), 0, "{name} alone is broken: {found:?}");
        realm.shell("nixos", &right);
    }
    realm.sealift(&["verify", "nixos"]).exits(0).says(&well);

    // A system that fails a check is rolled back.
    realm.has("nixos", "second", &system(&UNITS[1..]));
    realm.commit();
    let run = realm.sealift(&["deploy", "nixos", "--yes", "--settle", "1"]).exits(6);
    run.says("check desktop: display-manager.service is not active");
    assert_eq!(realm.shell("nixos", "systemctl is-active display-manager"), "active\n");
    realm.is_in_order("nixos", "first", 2);
}
