//! Known faults of a machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::address::quoted;
use crate::domain::doctor::{Fault, Fix, judged};

/// The tolerated difference between two clocks, in seconds.
const DRIFT: i64 = 120;
/// A boot partition with less free space than this counts as full, whatever the kernel's size; in bytes.
const LEAST: u64 = 32 << 20;

/// What a machine reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub etc_nixos: EtcNixos,
    /// Its clock: seconds since 1970.
    pub clock: i64,
    /// When its newest generation was created: a correct clock cannot be before that.
    pub newest_generation: Option<i64>,
    /// Whether its clock is synchronised; `None` if unknown.
    pub synchronised: Option<bool>,
    pub swaps: Vec<Swap>,
    /// Its boot partition, if it has one.
    pub boot: Option<Boot>,
    /// The machine's public SSH host keys, as `type base64`.
    pub keys: Vec<String>,
    /// Files in home folders that home-manager would have to overwrite, which it refuses.
    pub clobbered: Vec<String>,
    /// The failed units; `None` if unknown.
    pub failed: Option<BTreeSet<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcNixos {
    #[default]
    Missing,
    Link {
        to: String,
        there: bool,
        flake: bool,
    },
    /// A real directory.
    Directory {
        /// Symlinks to directories in it, each with its target.
        links: Vec<(String, String)>,
    },
    /// A symlink, or one inside it, that leads back to itself: its path.
    Loop(String),
}

/// A swap device or file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub path: String,
    /// Whether its content is encrypted or stays in memory; `None` if unknown.
    pub encrypted: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub path: String,
    /// The free space in bytes.
    pub free: u64,
    /// The space in bytes for one more kernel and its initrd.
    pub each: u64,
}

/// A machine, and what it is compared with.
pub struct Against<'a> {
    pub machine: &'a Machine,
    pub name: &'a str,
    /// The keys that the policy pins for it; `None` if it is not a host of the fleet.
    pub pins: Option<&'a [String]>,
    /// The local clock, if this is another machine; `None` for the local machine.
    pub clock: Option<i64>,
    /// The time of the last commit in the repository on this machine.
    pub committed: Option<i64>,
}

impl Against<'_> {
    /// The argument that names it in a command, if it is not the local machine.
    fn elsewhere(&self) -> String {
        self.clock.map_or_else(String::new, |_| format!(" {}", self.name))
    }
}

/// A rule: its name and its function.
type Rule = (&'static str, fn(&Against<'_>) -> Vec<Fault>);

const RULES: &[Rule] = &[
    ("etc-nixos-loop", etc_nixos_loop),
    ("etc-nixos-nested", etc_nixos_nested),
    ("etc-nixos-no-flake", etc_nixos_no_flake),
    ("host-key-changed", host_key_changed),
    ("home-manager-clobber", home_manager_clobber),
    ("home-manager-failed", home_manager_failed),
    ("boot-full", boot_full),
    ("clock", clock),
    ("swap-unencrypted", swap_unencrypted),
];

/// The faults of a machine.
pub fn faults(against: &Against<'_>) -> Vec<Fault> {
    judged(RULES.iter().map(|(name, rule)| (*name, rule(against))))
}

fn etc_nixos_loop(against: &Against<'_>) -> Vec<Fault> {
    let EtcNixos::Loop(path) = &against.machine.etc_nixos else { return Vec::new() };
    let fault =
        Fault::error(path, "it is a link that leads back to itself", format!("remove it: `sudo rm {}`", quoted(path)));
    vec![fault.with(Fix::RemoveLink(path.clone()))]
}

/// If /etc/nixos is a real directory, `ln -sfn DIR /etc/nixos` creates the symlink inside it, without a message.
fn etc_nixos_nested(against: &Against<'_>) -> Vec<Fault> {
    let EtcNixos::Directory { links } = &against.machine.etc_nixos else { return Vec::new() };
    let fault = |(name, to): &(String, String)| {
        let path = format!("/etc/nixos/{name}");
        let what =
            format!("a link to {to} inside a real /etc/nixos: `ln` put it there because the directory was in its way");
        let help = format!(
            "`sudo rm {}`; then `sealift deploy{} --link-etc-nixos` moves the directory aside and links it",
            quoted(&path),
            against.elsewhere()
        );
        Fault::error(path.clone(), what, help).with(Fix::RemoveLink(path))
    };
    links.iter().map(fault).collect()
}

fn etc_nixos_no_flake(against: &Against<'_>) -> Vec<Fault> {
    let EtcNixos::Link { to, there, flake: false } = &against.machine.etc_nixos else { return Vec::new() };
    let what = if *there {
        format!("it leads to {to}, where no flake.nix is: nixos-rebuild and nh look for one there by default")
    } else {
        format!("it leads to {to}, and nothing is there")
    };
    let help = format!(
        "`sealift deploy{} --link-etc-nixos` links the folder of the flake; or say it each time: `--flake DIR`",
        against.elsewhere()
    );
    vec![Fault::warning("/etc/nixos", what, help)]
}

fn host_key_changed(against: &Against<'_>) -> Vec<Fault> {
    let Some(pins) = against.pins.filter(|pins| !pins.is_empty()) else { return Vec::new() };
    if pins.iter().any(|pin| against.machine.keys.contains(pin)) {
        return Vec::new();
    }
    let what =
        "its host key in /etc/ssh is not the one that recipients.toml pins: it cannot open what is sealed to that";
    let help = format!(
        "bring the old key back; or, if the new one is to stay: `sealift host rekey {} --key-file /etc/ssh/ssh_host_ed25519_key.pub`",
        against.name
    );
    vec![Fault::error(against.name, what, help)]
}

fn home_manager_clobber(against: &Against<'_>) -> Vec<Fault> {
    let fault = |path: &String| {
        let what = "home-manager wants a link there, and a file of your own is in its way: the switch would end with 4";
        let help = "move it away once, or set `home-manager.backupFileExtension = \"before-home-manager\";`";
        Fault::error(path, what, help)
    };
    against.machine.clobbered.iter().map(fault).collect()
}

fn home_manager_failed(against: &Against<'_>) -> Vec<Fault> {
    let failed = against.machine.failed.iter().flatten().filter(|unit| unit.starts_with("home-manager-"));
    let fault = |unit: &String| {
        Fault::error(
            unit,
            "it failed: the home folder is not as the system says",
            format!("`journalctl -b -u {unit}` tells why"),
        )
    };
    failed.map(fault).collect()
}

/// How room is made where kernels lie. They go only with what the boot loader lists.
pub const FREE_BOOT: &str = "remove old generations, and their kernels with them: `sudo nix-collect-garbage --delete-older-than 30d && sudo /run/current-system/bin/switch-to-configuration boot`; `boot.loader.systemd-boot.configurationLimit = 10;` keeps it so";

fn boot_full(against: &Against<'_>) -> Vec<Fault> {
    let Some(Boot { path, free, each }) = &against.machine.boot else { return Vec::new() };
    let has = format!("{} MiB are free; a kernel with its initrd takes {} MiB", free >> 20, each >> 20);
    if *free < LEAST.max(*each) {
        return vec![Fault::error(path, format!("{has}: the next new kernel does not fit"), FREE_BOOT)];
    }
    if *free < each.saturating_mul(2) {
        return vec![Fault::warning(path, format!("{has}: it is nearly full"), FREE_BOOT)];
    }
    Vec::new()
}

fn clock(against: &Against<'_>) -> Vec<Fault> {
    let machine = against.machine;
    let help = "`services.timesyncd.enable = true;`, and look at it: `timedatectl status`";
    for (when, what) in [(machine.newest_generation, "its newest generation"), (against.committed, "the last commit")] {
        if let Some(behind) = when.map(|when| when.saturating_sub(machine.clock)).filter(|behind| *behind > DRIFT) {
            return vec![Fault::error("clock", format!("it is {behind} s behind the date of {what}"), help)];
        }
    }
    if let Some(apart) =
        against.clock.map(|ours| ours.saturating_sub(machine.clock).saturating_abs()).filter(|apart| *apart > DRIFT)
    {
        return vec![Fault::warning("clock", format!("it differs from this machine's by {apart} s"), help)];
    }
    if machine.synchronised == Some(false) {
        return vec![Fault::warning("clock", "nothing synchronises it", help)];
    }
    Vec::new()
}

fn swap_unencrypted(against: &Against<'_>) -> Vec<Fault> {
    let plain = against.machine.swaps.iter().filter(|swap| swap.encrypted == Some(false));
    let fault = |swap: &Swap| {
        let what = "memory is written out to it in the clear: what programs hold of a secret ends up on the disk";
        let help = "`swapDevices = [ { device = …; randomEncryption.enable = true; } ];`, or `zramSwap.enable = true;`";
        Fault::warning(&swap.path, what, help)
    };
    plain.map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::level::Level;

    fn told(machine: &Machine, pins: Option<&[String]>, clock: Option<i64>) -> Vec<(&'static str, Level)> {
        let against = Against { machine, name: "web", pins, clock, committed: Some(10_000) };
        let found = faults(&against);
        assert!(found.iter().all(|fault| !fault.help.is_empty() && !fault.about.is_empty()), "{found:?}");
        found.into_iter().map(|fault| (fault.rule, fault.level)).collect()
    }

    #[test]
    fn a_sound_machine_has_no_faults() {
        let key = ["ssh-ed25519 AAAA".to_owned()];
        let machine = Machine {
            etc_nixos: EtcNixos::Link { to: "/home/jay/dotfiles".into(), there: true, flake: true },
            clock: 10_000,
            newest_generation: Some(9_000),
            synchronised: Some(true),
            swaps: vec![
                Swap { path: "/dev/zram0".into(), encrypted: Some(true) },
                Swap { path: "/swap".into(), encrypted: None },
            ],
            boot: Some(Boot { path: "/boot".into(), free: 500 << 20, each: 60 << 20 }),
            keys: key.to_vec(),
            clobbered: Vec::new(),
            failed: Some(BTreeSet::from(["nginx.service".to_owned()])),
        };
        assert_eq!(told(&machine, Some(&key), Some(10_100)), []);
        assert_eq!(told(&Machine { clock: 10_000, ..Machine::default() }, None, None), []);
    }

    #[test]
    fn each_fault_of_a_machine_is_found() {
        use Level::{Error, Warning};
        let base = Machine { clock: 10_000, ..Machine::default() };
        let link = |there| EtcNixos::Link { to: "/x".into(), there, flake: false };
        let boot = |free: u64| Some(Boot { path: "/boot".into(), free: free << 20, each: 60 << 20 });
        for (machine, rule, level) in [
            (Machine { etc_nixos: EtcNixos::Loop("/etc/nixos".into()), ..base.clone() }, "etc-nixos-loop", Error),
            (
                Machine {
                    etc_nixos: EtcNixos::Directory {
                        links: vec![("web".into(), "/home/jay/dotfiles/hosts/web".into())],
                    },
                    ..base.clone()
                },
                "etc-nixos-nested",
                Error,
            ),
            (Machine { etc_nixos: link(true), ..base.clone() }, "etc-nixos-no-flake", Warning),
            (Machine { etc_nixos: link(false), ..base.clone() }, "etc-nixos-no-flake", Warning),
            (Machine { clobbered: vec!["/home/jay/.gitconfig".into()], ..base.clone() }, "home-manager-clobber", Error),
            (
                Machine { failed: Some(BTreeSet::from(["home-manager-jay.service".to_owned()])), ..base.clone() },
                "home-manager-failed",
                Error,
            ),
            (Machine { boot: boot(59), ..base.clone() }, "boot-full", Error),
            (Machine { boot: boot(119), ..base.clone() }, "boot-full", Warning),
            (Machine { newest_generation: Some(10_200), ..base.clone() }, "clock", Error),
            (Machine { synchronised: Some(false), ..base.clone() }, "clock", Warning),
            (
                Machine { swaps: vec![Swap { path: "/dev/sda2".into(), encrypted: Some(false) }], ..base.clone() },
                "swap-unencrypted",
                Warning,
            ),
        ] {
            assert_eq!(told(&machine, None, None), [(rule, level)]);
        }
        assert_eq!(told(&base, Some(&["ssh-ed25519 AAAA".to_owned()]), None), [("host-key-changed", Error)]);
        assert_eq!(told(&base, Some(&[]), None), [], "a host with an age key of its own shows no SSH key");
        assert_eq!(told(&base, None, Some(20_000)), [("clock", Warning)]);
        // A host may report any number.
        let far = Machine { clock: i64::MIN, newest_generation: Some(i64::MAX), ..Machine::default() };
        assert_eq!(told(&far, None, Some(20_000)), [("clock", Error)]);
        let apart = Machine { clock: i64::MAX, ..Machine::default() };
        assert_eq!(told(&apart, None, Some(-20_000)), [("clock", Warning)]);
        assert_eq!(
            told(&Machine { clock: 9_000, ..base.clone() }, None, None),
            [("clock", Error)],
            "before the last commit"
        );
    }
}
