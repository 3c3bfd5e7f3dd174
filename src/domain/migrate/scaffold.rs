//! The content of the files for a new machine, from what is known about it. Nothing is read or written here.

use crate::domain::name::Configuration;
use crate::error::{Error, Result};

/// The largest hardware configuration that is accepted, in bytes.
pub const HARDWARE_LIMIT: u64 = 256 << 10;

/// Which folders and files the repository has, relative to the folder of recipients.toml.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// `hosts/`.
    pub hosts: bool,
    /// `home/`.
    pub home: bool,
    /// `modules/common.nix`, if the flake does not add it to every machine by itself.
    pub common: bool,
    /// `home/common.nix`.
    pub home_common: bool,
}

/// Facts about a new machine.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub hardware: Option<String>,
    /// The NixOS release that it was first installed with.
    pub state_version: Option<String>,
    /// Its host name, if that is not its name in the fleet.
    pub host_name: Option<String>,
}

/// The files that the repository has a folder for, each with its path and text.
pub fn files(host: &Configuration, layout: Layout, known: &Known) -> Vec<(String, String)> {
    let mut files = Vec::new();
    if layout.hosts {
        files.push((format!("hosts/{host}/default.nix"), machine(host, layout, known)));
        files.extend(known.hardware.iter().map(|text| (hardware_path(host), text.clone())));
    }
    if layout.home {
        let text = if layout.home_common { "{\n  imports = [ ./common.nix ];\n}\n" } else { "{ }\n" };
        let head =
            format!("# What {host} has in the home folder besides what all machines have: a home-manager module.\n");
        files.push((format!("home/{host}.nix"), format!("{head}{text}")));
    }
    files
}

/// Where a file of a previous configuration belongs, and to which machine. Only for hardware configurations, which
/// contain no secrets and mean the same everywhere. A person has to look through everything else.
pub fn place_of(path: &str, host: &Configuration) -> Option<(Configuration, String)> {
    let folders = path.strip_suffix("hardware-configuration.nix")?;
    let owner = if folders.is_empty() {
        host.clone()
    } else {
        let folder = folders.strip_suffix('/')?;
        folder.strip_prefix("hosts/").unwrap_or(folder).parse().ok()?
    };
    let path = hardware_path(&owner);
    Some((owner, path))
}

/// A flake whose systems are the folders of `hosts/`, with sealift's module, for a repository without a flake.
/// `release` is the running release.
pub fn flake(release: Option<&str>) -> String {
    let channel = release.map_or_else(|| "nixos-unstable".to_owned(), |release| format!("nixos-{release}"));
    let lines = [
        "# One system for each folder of hosts/. To add a machine is to add its folder: `sealift host add`.",
        "{",
        "  inputs = {",
        &format!("    nixpkgs.url = \"github:NixOS/nixpkgs/{channel}\";"),
        "    sealift = {",
        "      # Where sealift's repository is: github:…, git+https://…, or git+file:///… on this machine.",
        "      url = \"git+https://example.org/sealift\";",
        "      inputs.nixpkgs.follows = \"nixpkgs\";",
        "      inputs.home-manager.follows = \"\";",
        "    };",
        "  };",
        "",
        "  outputs =",
        "    { nixpkgs, sealift, ... }:",
        "    {",
        "      # Each has sealift's module, and the secrets that recipients.toml gives it.",
        "      nixosConfigurations = sealift.lib.mkFleet {",
        "        inherit nixpkgs;",
        "        fleet = ./.;",
        "        # What all machines have in common.",
        "        modules = [ ];",
        "      };",
        "    };",
        "}",
        "",
    ];
    lines.join("\n")
}

/// The path of a machine's hardware configuration.
pub fn hardware_path(host: &Configuration) -> String {
    format!("hosts/{host}/hardware-configuration.nix")
}

fn machine(host: &Configuration, layout: Layout, known: &Known) -> String {
    let common = layout.common.then_some("../../modules/common.nix");
    let hardware = "./hardware-configuration.nix";
    let mut lines = vec![
        format!(
            "# {host}. A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else."
        ),
        "{".to_owned(),
    ];
    match (&known.hardware, common) {
        (Some(_), None) => lines.push(format!("  imports = [ {hardware} ];")),
        (Some(_), Some(common)) => {
            lines.extend([
                "  imports = [".to_owned(),
                format!("    {common}"),
                format!("    {hardware}"),
                "  ];".to_owned(),
            ]);
        }
        // The file comes later: the machine is not installed yet, or did not provide it.
        (None, common) => {
            lines.push(
                "  # `nixos-generate-config --show-hardware-config` on the machine prints the last one.".to_owned(),
            );
            lines.push("  imports = builtins.filter builtins.pathExists [".to_owned());
            lines.extend(common.into_iter().chain([hardware]).map(|path| format!("    {path}")));
            lines.push("  ];".to_owned());
        }
    }
    // Both were read from Nix literals, and are written without changes.
    let name = known.host_name.as_deref().unwrap_or(host.host_name());
    lines.extend([String::new(), format!("  networking.hostName = \"{name}\";")]);
    if let (None, Some((_, domain))) = (&known.host_name, host.as_str().split_once('.')) {
        lines.push(format!("  networking.domain = \"{domain}\";"));
    }
    lines.push(match &known.state_version {
        Some(version) => format!("  system.stateVersion = \"{version}\";"),
        None => "  # The release of its first installation: system.stateVersion = \"…\";".to_owned(),
    });
    lines.extend(["}".to_owned(), String::new()]);
    lines.join("\n")
}

/// Checks a hardware configuration as printed by a machine. It becomes part of that machine's system and a person reads
/// it before it is committed, so characters that a terminal or a diff would not show are refused.
pub fn hardware(printed: &[u8]) -> Result<String> {
    let refused = |what: &str| {
        Error::failed(format!("what nixos-generate-config printed is not a hardware configuration: {what}"))
            .help("run `nixos-generate-config --show-hardware-config` there by hand; `--no-hardware` adds the host without it")
    };
    let text = std::str::from_utf8(printed).map_err(|_| refused("it is not UTF-8 text"))?;
    let hidden = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if text.chars().any(hidden) {
        return Err(refused("it holds characters that are not shown"));
    }
    if !text.trim_start().starts_with(['#', '{']) || !text.trim_end().ends_with('}') {
        return Err(refused("it does not begin and end as a Nix module does"));
    }
    Ok(format!("{}\n", text.trim()))
}

/// The release that a machine was first installed with: from its configuration, or else the running release.
pub fn state_version(said: Option<&str>, nixos_version: &str) -> Option<String> {
    let plain = |text: &str| {
        let (year, month) = text.split_once('.')?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        (digits(year) && digits(month)).then(|| text.to_owned())
    };
    said.and_then(plain).or_else(|| plain(nixos_version.trim().get(..5)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Configuration {
        "web".parse().unwrap()
    }

    #[test]
    fn only_the_places_that_are_there_are_filled() {
        let known = Known { hardware: Some("{ }\n".into()), state_version: Some("25.11".into()), ..Known::default() };
        let paths = |layout| files(&host(), layout, &known).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert!(paths(Layout::default()).is_empty());
        assert_eq!(
            paths(Layout { hosts: true, home: true, common: true, home_common: true }),
            ["hosts/web/default.nix", "hosts/web/hardware-configuration.nix", "home/web.nix"]
        );
        let text = &files(&host(), Layout { hosts: true, common: true, ..Layout::default() }, &known)[0].1;
        for line in [
            "../../modules/common.nix",
            "./hardware-configuration.nix",
            "hostName = \"web\"",
            "stateVersion = \"25.11\"",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_machine_imports_what_is_there() {
        let text = |hardware: bool, common| {
            let known = Known {
                hardware: hardware.then(|| "{ }".to_owned()),
                state_version: Some("25.11".into()),
                ..Known::default()
            };
            machine(&host(), Layout { common, ..Layout::default() }, &known)
        };
        let head = "# web. A NixOS module. Which secrets this machine receives is said in recipients.toml, and nowhere else.\n{\n";
        let end = "\n  networking.hostName = \"web\";\n  system.stateVersion = \"25.11\";\n}\n";
        assert_eq!(text(true, false), format!("{head}  imports = [ ./hardware-configuration.nix ];\n{end}"));
        let both = "    ../../modules/common.nix\n    ./hardware-configuration.nix\n  ];\n";
        assert_eq!(text(true, true), format!("{head}  imports = [\n{both}{end}"));
        assert!(
            text(false, true).ends_with(&format!("  imports = builtins.filter builtins.pathExists [\n{both}{end}"))
        );
    }

    #[test]
    fn a_domain_stands_apart_from_the_host_name() {
        let text = |name: &str| machine(&name.parse().unwrap(), Layout::default(), &Known::default());
        let both = "\n  networking.hostName = \"web\";\n  networking.domain = \"example.org\";\n";
        assert!(text("web.example.org").contains(both));
        assert!(text("Web_1").contains("\n  networking.hostName = \"Web_1\";\n") && !text("Web_1").contains("domain"));
    }

    #[test]
    fn only_hardware_configurations_have_a_place() {
        let place = |path| place_of(path, &host()).map(|(_, path)| path);
        assert_eq!(place("hardware-configuration.nix").as_deref(), Some("hosts/web/hardware-configuration.nix"));
        for path in ["db/hardware-configuration.nix", "hosts/db/hardware-configuration.nix"] {
            assert_eq!(place(path).as_deref(), Some("hosts/db/hardware-configuration.nix"));
        }
        for path in [
            "configuration.nix",
            "old/db/hardware-configuration.nix",
            "_example/hardware-configuration.nix",
            ".git/hardware-configuration.nix",
            "../hardware-configuration.nix",
            "x-hardware-configuration.nix",
            "xhardware-configuration.nix",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }

    #[test]
    fn what_a_machine_prints_is_a_module_or_refused() {
        assert_eq!(hardware(b"# made by\n{ lib, ... }:\n{\n}\n\n").unwrap(), "# made by\n{ lib, ... }:\n{\n}\n");
        for bad in [
            &b""[..],
            b"command not found",
            b"{ \x1b[2K }",
            b"{ \xff }",
            "{ /* \u{202e} */ }".as_bytes(),
            b"{ lib, ...",
        ] {
            assert!(hardware(bad).unwrap_err().advice().is_some(), "{bad:?}");
        }
    }

    #[test]
    fn the_release_is_taken_from_where_it_is_said_first() {
        assert_eq!(state_version(Some("23.05"), "25.11.1").as_deref(), Some("23.05"));
        assert_eq!(state_version(None, "25.11.20251101.abc (X)").as_deref(), Some("25.11"));
        assert_eq!(state_version(Some("${evil}"), ""), None);
        assert_eq!(state_version(None, "é"), None);
    }
}
