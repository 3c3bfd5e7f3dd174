//! Known faults in the text of Nix files and shell scripts: commands that do something else than they seem to, and
//! names that nixpkgs no longer has. Checked line by line, outside comments; nothing is evaluated.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::doctor::{Fault, judged};
use crate::domain::foreign::resolved;

/// A file in the repository.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Its path from the top of the repository.
    pub path: &'a str,
    pub text: &'a str,
    /// Whether the flake has home configurations of its own.
    pub has_home_configurations: bool,
}

/// A rule: its name and its function.
type Rule = (&'static str, fn(&Text<'_>) -> Vec<Fault>);

const RULES: &[Rule] = &[
    ("path-outside-flake", path_outside_flake),
    ("os-config", os_config),
    ("link-etc-nixos", link_etc_nixos),
    ("home-manager-switch", home_manager_switch),
    ("home-manager-flags", home_manager_flags),
    ("backup-by-date", backup_by_date),
    ("rebuild-of-a-file", rebuild_of_a_file),
    ("sudo-build", sudo_build),
    ("read-ends-script", read_ends_script),
    ("insecure-packages", insecure_packages),
    ("gone-from-nixpkgs", gone_from_nixpkgs),
];

/// A name that nixpkgs or home-manager renamed or removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gone {
    name: String,
    /// What to use instead.
    help: String,
}

/// Parsed on first use. The tests below fail if the table cannot be parsed.
static GONE: LazyLock<Vec<Gone>> = LazyLock::new(|| serde_json::from_str(GONE_TABLE).unwrap_or_default());

const GONE_TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/nixpkgs-gone.json"));

/// The faults of a file.
pub fn faults(text: &Text<'_>) -> Vec<Fault> {
    judged(RULES.iter().map(|(name, rule)| (*name, rule(text))))
}

/// The paths that a Nix file refers to, from the top of the repository, with their lines. `Err`: a path that leads out
/// of the repository.
pub fn paths(path: &str, text: &str) -> Vec<(usize, Result<String, String>)> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    for (at, line) in code(text).lines().enumerate() {
        let word = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
        for token in line.split(|c: char| !word(c)).filter(|token| token.starts_with("./") || token.starts_with("../"))
        {
            found.push((at + 1, resolved(folder, token).ok_or_else(|| token.to_owned())));
        }
    }
    found
}

impl Text<'_> {
    fn is_nix(&self) -> bool {
        self.path.ends_with(".nix")
    }

    /// The lines of a script, or of a Nix file, which can contain scripts and aliases, too. Without comment lines.
    fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        lines.filter(|(_, line)| !line.starts_with('#'))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// A fault for each command line that satisfies `is`.
    fn each(
        &self,
        is: impl Fn(&[&str]) -> bool,
        what: &str,
        help: &str,
        make: fn(String, String, String) -> Fault,
    ) -> Vec<Fault> {
        let found = self.commands().filter(|(_, line)| is(&words(line)));
        found.map(|(line, _)| make(self.at(line), what.to_owned(), help.to_owned())).collect()
    }
}

/// The words of a command line, without the quotes and separators around them.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', ';', '`', '(', ')']))
        .filter(|word| !word.is_empty())
        .collect()
}

/// What follows a word in a line; `None` if the word is missing.
fn after<'a, 'b>(words: &'a [&'b str], word: &str) -> Option<&'a [&'b str]> {
    let at = words.iter().position(|known| *known == word || known.ends_with(&format!("/{word}")))?;
    words.get(at + 1..)
}

fn path_outside_flake(text: &Text<'_>) -> Vec<Fault> {
    if !text.is_nix() {
        return Vec::new();
    }
    let out = paths(text.path, text.text).into_iter().filter_map(|(line, path)| Some((line, path.err()?)));
    out.map(|(line, token)| {
        let what =
            format!("{token} leads out of the repository: in the store, where the flake is read, nothing is there");
        Fault::error(text.at(line), what, "count the folders from this file up to flake.nix, and not one more")
    })
    .collect()
}

fn os_config(text: &Text<'_>) -> Vec<Fault> {
    if !text.is_nix() || !(text.path.starts_with("home/") || text.path.contains("/home/")) {
        return Vec::new();
    }
    let code = code(text.text);
    // Does not match `osConfig.networking.hostName`, because of its upper-case `C`.
    let lines = code.lines().enumerate().filter(|(_, line)| line.contains("config.networking.hostName"));
    lines
        .map(|(at, _)| {
            let what = "`config` is home-manager's here, and has no networking.hostName";
            Fault::error(
                text.at(at + 1),
                what,
                "take `osConfig` as an argument of the module: `osConfig.networking.hostName`",
            )
        })
        .collect()
}

fn link_etc_nixos(text: &Text<'_>) -> Vec<Fault> {
    let is = |words: &[&str]| {
        let Some(rest) = after(words, "ln") else { return false };
        let short = |flag: char| {
            rest.iter().any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(flag))
        };
        rest.contains(&"/etc/nixos") && short('s') && !short('T') && !rest.contains(&"--no-target-directory")
    };
    text.each(
        is,
        "where /etc/nixos is a real directory, as on every fresh NixOS, this makes the link inside it and exits 0",
        "`sealift deploy --link-etc-nixos` moves the directory aside first; by hand: `mv` it, then `ln -sT`",
        Fault::error,
    )
}

fn home_manager_switch(text: &Text<'_>) -> Vec<Fault> {
    if text.has_home_configurations {
        return Vec::new();
    }
    text.each(
        |words| after(words, "home-manager").is_some_and(|rest| rest.contains(&"switch") && rest.contains(&"--flake")),
        "it looks for homeConfigurations in the flake, and there are none: it always fails",
        "take it out: as a module of the system, home-manager is switched with it",
        Fault::error,
    )
}

fn home_manager_flags(text: &Text<'_>) -> Vec<Fault> {
    text.each(
        |words| {
            after(words, "home-manager").is_some_and(|rest| {
                rest.contains(&"switch") && rest.iter().any(|word| ["--force", "--generation"].contains(word))
            })
        },
        "home-manager has no such option",
        "files in the way are moved by `home-manager.backupFileExtension`; an older generation comes back with the system: `sealift rollback`",
        Fault::error,
    )
}

/// A backup with today's date in its name has another name tomorrow.
fn backup_by_date(text: &Text<'_>) -> Vec<Fault> {
    let is = |line: &str| {
        let dated = ["$(date", "`date"].iter().filter_map(|mark| line.find(mark)).min();
        let Some(at) = dated.filter(|_| line.contains("backup")) else { return false };
        let before = line.get(..at).unwrap_or_default();
        // Only if it is read: as the first operand of a copy, or as an argument of nixos-rebuild.
        let copies = ["cp ", "mv ", "rsync "].iter().any(|copy| before.contains(copy));
        let operands = words(before).into_iter().skip_while(|word| !["cp", "mv", "rsync"].contains(word)).skip(1);
        let first = operands.filter(|word| !word.starts_with('-')).count() <= 1;
        before.contains("nixos-rebuild") || (copies && first)
    };
    let found = text.commands().filter(|(_, line)| is(line));
    found
        .map(|(line, _)| {
            let what = "it brings back the backup of today: on any later day there is no backup of that name";
            Fault::error(
                text.at(line),
                what,
                "`sealift rollback` goes back to a generation, with its secrets; git has the files",
            )
        })
        .collect()
}

fn rebuild_of_a_file(text: &Text<'_>) -> Vec<Fault> {
    let takes_value = ["-I", "-f", "--file", "-A", "--attr", "--flake", "-p", "--profile-name"];
    text.each(
        |words| {
            let Some(rest) = after(words, "nixos-rebuild") else { return false };
            let verb = rest.iter().position(|word| ["switch", "boot", "test", "build"].contains(word));
            let operand = |at: usize, word: &str| {
                word.ends_with(".nix")
                    && !word.contains('=')
                    && !rest.get(at.wrapping_sub(1)).is_some_and(|before| takes_value.contains(before))
            };
            verb.is_some_and(|verb| rest.iter().enumerate().skip(verb + 1).any(|(at, word)| operand(at, word)))
        },
        "nixos-rebuild takes no file as an operand: it is ignored or refused",
        "name the flake: `--flake DIR#HOST`; to go back: `sealift rollback`",
        Fault::error,
    )
}

fn sudo_build(text: &Text<'_>) -> Vec<Fault> {
    text.each(
        |words| {
            let Some(rest) = after(words, "sudo") else { return false };
            after(rest, "nixos-rebuild").is_some_and(|rest| rest.iter().any(|word| ["build", "dry-build"].contains(word)))
        },
        "it evaluates your repository as root, leaves a `result` that root owns, and the switch that follows evaluates again: what was reviewed is not what is switched",
        "build as yourself: `sealift deploy` shows and asks, and activates the very path that it showed",
        Fault::warning,
    )
}

fn read_ends_script(text: &Text<'_>) -> Vec<Fault> {
    let sets = |(_, line): (usize, &str)| {
        let words = words(line);
        words.first() == Some(&"set") && words.iter().any(|word| word.starts_with('-') && word.contains('e'))
    };
    if text.is_nix() || !text.commands().any(sets) {
        return Vec::new();
    }
    let reads = |line: &str| words(line).first() == Some(&"read") && !line.contains("||") && !line.contains("&&");
    let found = text.commands().filter(|(_, line)| reads(line));
    found
        .map(|(line, _)| {
            let what = "under `set -e` this ends the script without a word where nobody can answer";
            Fault::warning(text.at(line), what, "`read … || exit 1`, with a message")
        })
        .collect()
}

fn insecure_packages(text: &Text<'_>) -> Vec<Fault> {
    if !text.is_nix() {
        return Vec::new();
    }
    let plain = without_comments(text.text);
    let Some(at) = plain.find("permittedInsecurePackages") else { return Vec::new() };
    let rest = plain.get(at..).unwrap_or_default();
    let list = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let names: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let line = plain.get(..at).unwrap_or_default().matches('\n').count() + 1;
    let what = format!("it permits packages with known holes: {}", names.join(", "));
    vec![Fault::warning(
        text.at(line),
        what,
        "take each out and build: most are only needed by a package that has a successor",
    )]
}

fn gone_from_nixpkgs(text: &Text<'_>) -> Vec<Fault> {
    if !text.is_nix() {
        return Vec::new();
    }
    let code = code(text.text);
    let part = |c: char| c.is_ascii_alphanumeric() || "_'-".contains(c);
    let holds = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
            // `pkgs.exa` and `hardware.opengl.enable` match; `eza-exa` and `lib.mySound.enable` do not.
            let own_path = |c: char| part(c) || (c == '.' && word.contains('.'));
            !before.is_some_and(own_path) && !after.is_some_and(part)
        })
    };
    let gone = |(at, line)| GONE.iter().filter(move |gone| holds(line, &gone.name)).map(move |gone| (at + 1, gone));
    let what = |name| format!("nixpkgs renamed or removed `{name}`");
    let lines = code.lines().enumerate().flat_map(gone);
    lines.map(|(line, gone)| Fault::warning(text.at(line), what(&gone.name), gone.help.as_str())).collect()
}

/// Nix source with comments and strings replaced by spaces; line numbers stay the same.
fn code(text: &str) -> String {
    blanked(text, true)
}

/// Likewise, but with its strings.
fn without_comments(text: &str) -> String {
    blanked(text, false)
}

fn blanked(text: &str, strings: bool) -> String {
    #[derive(PartialEq)]
    enum In {
        Code,
        Line,
        Block,
        Quoted,
        Indented,
    }
    let (mut state, mut out) = (In::Code, String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (mut take, mut keep) =
            (c.len_utf8(), state == In::Code || (!strings && matches!(state, In::Quoted | In::Indented)));
        match state {
            In::Code if c == '#' => (state, keep) = (In::Line, false),
            In::Code if rest.starts_with("/*") => (state, take, keep) = (In::Block, 2, false),
            In::Code if rest.starts_with("''") => (state, take) = (In::Indented, 2),
            In::Code if c == '"' => state = In::Quoted,
            In::Line if c == '\n' => state = In::Code,
            In::Block if rest.starts_with("*/") => (state, take) = (In::Code, 2),
            In::Quoted if c == '\\' => take += rest.chars().nth(1).map_or(0, char::len_utf8),
            In::Quoted if c == '"' => state = In::Code,
            In::Indented if rest.starts_with("''$") || rest.starts_with("'''") || rest.starts_with("''\\") => take = 3,
            In::Indented if rest.starts_with("''") => (state, take) = (In::Code, 2),
            _ => {}
        }
        let (piece, tail) = rest.split_at_checked(take).unwrap_or((rest, ""));
        if keep {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, String)> {
        let found = faults(&Text { path, text, has_home_configurations: false });
        assert!(found.iter().all(|fault| !fault.help.is_empty()));
        found.into_iter().map(|fault| (fault.rule, fault.about)).collect()
    }

    /// Faults in the scripts and files of the first fleet.
    #[test]
    fn each_fault_is_found_where_it_is() {
        for (path, text, rule) in [
            (
                "home/nixos.nix",
                "{\n  home.file.\".gitconfig\".source = ../../dotfiles/gitconfig;\n}\n",
                "path-outside-flake",
            ),
            (
                "home/common.nix",
                "{ config, ... }:\n{ home.sessionVariables.H = config.networking.hostName; }\n",
                "os-config",
            ),
            ("scripts/deploy.sh", "#!/bin/sh\nsudo ln -sfn ~/dotfiles/hosts/$H /etc/nixos\n", "link-etc-nixos"),
            ("scripts/deploy.sh", "#!/bin/sh\nhome-manager switch --flake .#nixos\n", "home-manager-switch"),
            ("scripts/rollback.sh", "\nhome-manager switch --generation 12\n", "home-manager-flags"),
            ("scripts/rollback.sh", "\ncp -r ~/backup-$(date +%F)/etc /etc/nixos\n", "backup-by-date"),
            ("scripts/rollback.sh", "\nsudo nixos-rebuild switch ~/old/configuration.nix\n", "rebuild-of-a-file"),
            ("scripts/deploy.sh", "\nsudo nixos-rebuild build --flake .#$H\n", "sudo-build"),
            ("scripts/deploy.sh", "set -euo pipefail\nread -p 'ok? ' answer\n", "read-ends-script"),
            (
                "modules/common.nix",
                "{\n  nixpkgs.config.permittedInsecurePackages = [ \"electron-25.9.0\" ];\n}\n",
                "insecure-packages",
            ),
            ("modules/common.nix", "{\n  hardware.opengl.enable = true;\n}\n", "gone-from-nixpkgs"),
            ("home/modules/packages.nix", "{ pkgs, ... }:\n{ home.packages = [ pkgs.exa ]; }\n", "gone-from-nixpkgs"),
        ] {
            assert_eq!(rules(path, text), [(rule, format!("{path}:2"))], "{text}");
        }
    }

    #[test]
    fn every_row_of_the_table_is_found() {
        let rows: Vec<Gone> = serde_json::from_str(GONE_TABLE).unwrap();
        assert!(rows.len() >= 14);
        for Gone { name, help } in rows {
            let text = format!("{{\n  x = {name};\n}}\n");
            let faults = faults(&Text { path: "a.nix", text: &text, has_home_configurations: false });
            let told: Vec<_> = faults.iter().map(|fault| (fault.what.contains(&name), fault.help.as_str())).collect();
            assert!(name.len() >= 3 && !help.is_empty() && told == [(true, help.as_str())], "{name}: {faults:?}");
        }
    }

    #[test]
    fn what_is_right_is_not_found() {
        for (path, text) in [
            ("home/nixos.nix", "{ home.file.\".gitconfig\".source = ../dotfiles/gitconfig; }\n"),
            ("home/common.nix", "{ osConfig, ... }:\n{ x = osConfig.networking.hostName; }\n"),
            ("hosts/web/default.nix", "{ config, ... }:\n{ x = config.networking.hostName; }\n"),
            ("scripts/a.sh", "ln -sfnT ~/dotfiles /etc/nixos\nln -s a b\n"),
            ("scripts/a.sh", "# sudo nixos-rebuild build --flake .\nhome-manager generations\n"),
            ("scripts/a.sh", "cp -r /etc/nixos ~/backup-$(date +%F)\n"),
            ("scripts/a.sh", "sudo nixos-rebuild switch --flake .#x\nnixos-rebuild build -I nixos-config=./x.nix\n"),
            ("scripts/a.sh", "set -e\nread -r line || exit 1\nwhile read -r x; do :; done\n"),
            ("scripts/a.sh", "read -p 'ok? '\n"),
            ("a.nix", "{ pkgs }: [ pkgs.eza pkgs.exact my-exa exa' ] # exa\n"),
            (
                "a.nix",
                "{ mySound.enable = 1; a = \"sound.enable ../../x\"; b = ''\n  ''${../../x} ../../y\n''; /* ../../z */ }\n",
            ),
            ("a.nix", "{ nixpkgs.config.permittedInsecurePackages = [ ]; }\n"),
        ] {
            assert_eq!(rules(path, text), [], "{text}");
        }
        let text = Text { path: "a.sh", text: "home-manager switch --flake .#jay\n", has_home_configurations: true };
        assert_eq!(faults(&text), []);
    }

    #[test]
    fn paths_are_those_from_the_top() {
        let found = paths("hosts/web/default.nix", "{ imports = [ ./hw.nix ../../modules/a.nix ];\n x = ../../../b; }");
        assert_eq!(
            found,
            [
                (1, Ok("hosts/web/hw.nix".to_owned())),
                (1, Ok("modules/a.nix".to_owned())),
                (2, Err("../../../b".to_owned()))
            ]
        );
    }

    #[test]
    fn hostile_text_costs_little() {
        let text = "''\"\\".repeat(200_000) + &"é#/*".repeat(100_000);
        let start = std::time::Instant::now();
        rules("a.nix", &text);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
