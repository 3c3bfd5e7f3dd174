//! The examples of the help pages. They are added to the definition of the command line, so that help and man pages
//! have the same ones.

use std::fmt::Write;

use clap::Command;
use clap::builder::Styles;

/// The words after `sealift` of a page, and its examples: a description and the command.
type Page = (&'static str, &'static [(&'static str, &'static str)]);

/// Two or three examples for every page.
const PAGES: &[Page] = &[
    (
        "",
        &[
            ("Seal a token for the hosts that have the tag runner", "sealift seal runner-token --hosts @runner"),
            ("Prove that every host can open exactly what it should", "sealift check"),
            ("Deploy two hosts, after a look at what changes", "sealift deploy web db"),
        ],
    ),
    (
        "init",
        &[
            ("Make this git repository a fleet", "sealift init"),
            ("Begin with the configuration of this machine", "sealift init --from /etc/nixos"),
            ("Begin with the configuration of another one", "sealift init --from ~/nixos-web --host web"),
        ],
    ),
    (
        "import",
        &[
            ("See what would be taken over", "sealift import agenix --dry-run"),
            ("Say whose keys the rules name", "sealift import agenix --admin jay --host web,db"),
            ("Give the files their seals too, with your key", "sealift import agenix --adopt -i ~/.ssh/id_ed25519"),
        ],
    ),
    (
        "identity",
        &[
            ("Your own key, in the keyring of the desktop", "sealift identity new --admin jay"),
            ("A second key for a drawer", "sealift identity new --admin backup --file /mnt/usb/backup.age"),
        ],
    ),
    (
        "identity new",
        &[
            ("A key in the keyring of the desktop, with a backup", "sealift identity new --admin jay"),
            ("A key in a file, behind a passphrase", "sealift identity new --admin jay --file ~/jay.age"),
            (
                "One more key, for an admin's second machine",
                "sealift identity new --admin jay --add --file ~/laptop.age",
            ),
        ],
    ),
    (
        "identity show",
        &[
            ("Which keys are found, and whose they are", "sealift identity show"),
            ("Whose key a file holds", "sealift identity show -i /mnt/usb/backup.age"),
        ],
    ),
    (
        "identity import",
        &[
            ("Take a key of age-keygen into the keyring", "sealift identity import ~/keys.txt"),
            ("The same, for an admin who has no key yet", "sealift identity import ~/keys.txt --admin jay"),
        ],
    ),
    (
        "identity forget",
        &[
            ("Remove your key from this machine", "sealift identity forget --admin jay"),
            ("The same where it is the only one", "sealift identity forget -i ~/.config/sealift/identity.age"),
        ],
    ),
    (
        "seal",
        &[
            ("Type a new token, for one host and for those with a tag", "sealift seal api-token --hosts web,@runner"),
            ("Generate a password of 40 characters", "sealift seal db-password --hosts db --generate --length 40"),
            ("Take the value from another program", "pass show ci/token | sealift seal ci-token --replace --stdin"),
        ],
    ),
    (
        "adopt",
        &[
            ("See the change first", "sealift adopt hosts/web/default.nix:42 --dry-run"),
            ("Name the secret and its readers", "sealift adopt modules/ci.nix:7 --name ci-token --hosts @runner"),
        ],
    ),
    (
        "edit",
        &[
            ("Change a file of variables", "sealift edit gitea-env"),
            ("Change one host's own value, in another editor", "SEALIFT_EDITOR=nano sealift edit wifi/web"),
        ],
    ),
    (
        "show",
        &[
            ("See a value", "sealift show db-password"),
            ("Hand it to another program", "sealift show signing-key -i ~/jay.age | ssh-add -"),
        ],
    ),
    (
        "list",
        &[
            ("All secrets, and which are overdue", "sealift list"),
            ("Which host reads what", "sealift list --matrix"),
            ("The same for a script", "sealift list --json"),
        ],
    ),
    (
        "rm",
        &[("Remove a secret", "sealift rm old-token"), ("Remove one that lies in a folder", "sealift rm ci/old-token")],
    ),
    (
        "mv",
        &[
            ("Rename a secret", "sealift mv token gitea-token"),
            ("Put it into a folder", "sealift mv ci-token ci/token"),
        ],
    ),
    (
        "rekey",
        &[
            ("What is to be done, and who gains or loses access", "sealift rekey --dry-run"),
            ("Bring all files up to date", "sealift rekey"),
            ("The same in a script, once the host db is gone", "sealift rekey --yes --remove db"),
        ],
    ),
    (
        "rotate",
        &[
            ("Give one secret a new value", "sealift rotate db-password"),
            ("All that a stolen laptop or a removed admin knew", "sealift rotate --exposed-to laptop"),
            ("Take the value from another program", "pass show ci/token | sealift rotate ci-token --stdin"),
        ],
    ),
    (
        "check",
        &[
            ("Hold the files against recipients.toml", "sealift check"),
            ("In CI: warnings count, no value is older than on main", "sealift check --strict --against origin/main"),
        ],
    ),
    (
        "scan",
        &[
            ("The work tree, and what the next commit would add", "sealift scan"),
            ("Everything since main, for a code host", "sealift scan --history main..HEAD --sarif"),
            ("The fleet's own values too, in the system of web", "sealift scan --store web --values"),
        ],
    ),
    (
        "hook",
        &[
            ("Look for plaintext before every commit", "sealift hook install"),
            ("Remove the hook", "sealift hook remove"),
        ],
    ),
    (
        "hook install",
        &[
            ("Look for plaintext before every commit", "sealift hook install"),
            (
                "Use the program of pre-commit.com instead",
                "sealift hook install --print-entry >> .pre-commit-config.yaml",
            ),
        ],
    ),
    (
        "hook remove",
        &[("Remove the hook", "sealift hook remove"), ("In another repository", "sealift hook remove --fleet ~/fleet")],
    ),
    (
        "admin",
        &[
            ("Remove an admin who has left", "sealift admin rm kim"),
            ("All admins, and their keys", "sealift admin list"),
        ],
    ),
    (
        "admin rm",
        &[
            ("Remove an admin who has left", "sealift admin rm kim"),
            (
                "Remove the one key of yours that was on a lost laptop",
                "sealift admin rm jay --key SHA256:RVi2hAdD3RsMn5kYVEhcaT7YbF2PvHMIXYGrsDUuo5I",
            ),
        ],
    ),
    (
        "admin list",
        &[("All admins, and their keys", "sealift admin list"), ("For a script", "sealift admin list --json")],
    ),
    (
        "who",
        &[
            ("Who can read a secret, and who knew its value", "sealift who db-password"),
            ("What a machine can read and knows, also once removed", "sealift who --host laptop"),
        ],
    ),
    (
        "host",
        &[
            ("Add a running machine", "sealift host add web --ssh root@192.0.2.7"),
            ("Remove one", "sealift host rm laptop"),
            ("All machines", "sealift host list"),
        ],
    ),
    (
        "host add",
        &[
            ("A running machine, with two tags", "sealift host add web --ssh root@192.0.2.7 --tag web,eu"),
            ("A key that you were sent", "sealift host add db --key-file db.pub"),
            ("A machine that is not installed yet", "sealift host add laptop --generate"),
        ],
    ),
    ("host rm", &[("Remove a machine", "sealift host rm laptop"), ("Do not ask", "sealift host rm laptop --yes")]),
    (
        "host rekey",
        &[
            ("Take the new key from the machine", "sealift host rekey web --ssh"),
            ("A key that you were sent", "sealift host rekey web --key-file web.pub"),
        ],
    ),
    (
        "host provision",
        &[
            ("Before nixos-install, on the installer", "sealift host provision laptop --root /mnt"),
            ("With the key on a stick", "sealift host provision laptop --root /mnt -i /media/usb/jay.age"),
        ],
    ),
    ("host list", &[("All machines", "sealift host list"), ("For a script", "sealift host list --json")]),
    (
        "deploy",
        &[
            ("This machine", "sealift deploy"),
            ("All hosts that have a tag, one of them first", "sealift deploy @web --canary web-1"),
            ("Another host, for the first time", "sealift deploy db --ask-sudo --build-on-target"),
        ],
    ),
    (
        "plan",
        &[
            ("Only look", "sealift plan web"),
            ("For a review, and for `sealift apply`", "sealift plan --all --output fleet.plan"),
        ],
    ),
    (
        "apply",
        &[
            ("Carry out what was reviewed", "sealift apply fleet.plan"),
            ("In CI, two hosts at a time", "sealift apply fleet.plan --yes --jobs 2"),
        ],
    ),
    (
        "status",
        &[
            ("All hosts", "sealift status"),
            ("Those that have a tag, for a script", "sealift status @web --json"),
            ("How far each machine is on its way into the fleet", "sealift status --progress"),
        ],
    ),
    (
        "cleanup",
        &[
            ("See what can go, and be asked", "sealift cleanup"),
            ("Only see it", "sealift cleanup --dry-run"),
            ("In a script", "sealift cleanup --yes --json"),
        ],
    ),
    (
        "verify",
        &[
            ("This machine", "sealift verify"),
            ("All hosts, with the password of sudo", "sealift verify --all --ask-sudo"),
        ],
    ),
    (
        "doctor",
        &[
            ("This machine and this repository", "sealift doctor"),
            ("Another host, over SSH", "sealift doctor web"),
            ("Fix what can be fixed without a loss", "sealift doctor --fix"),
        ],
    ),
    (
        "rollback",
        &[
            ("This machine, to the generation before", "sealift rollback"),
            ("Another host, to a generation of `sealift generations web`", "sealift rollback web --to 41"),
            ("The system only: values stay the newest", "sealift rollback web --keep-values"),
        ],
    ),
    (
        "generations",
        &[("This machine", "sealift generations"), ("Another host, for a script", "sealift generations web --json")],
    ),
    (
        "install",
        &[
            ("Is a manifest in order? Needs no key", "sealift install --check manifest.json"),
            ("Into a system that is mounted", "sealift install manifest.json --root /mnt"),
        ],
    ),
    (
        "manifest",
        &[
            ("What a host installs", "sealift manifest web"),
            ("The file that `sealift install` reads", "sealift manifest web --compact > manifest.json"),
        ],
    ),
    (
        "completions",
        &[
            ("In ~/.bashrc or ~/.zshrc", "source <(sealift completions bash)"),
            ("In ~/.config/fish/config.fish", "sealift completions fish | source"),
        ],
    ),
    (
        "man",
        &[
            ("Read the manual", "sealift man | man -l -"),
            ("Write a page for every verb", "sealift man --out ~/.local/share/man/man1"),
        ],
    ),
    (
        "schema",
        &[
            ("For editors that complete recipients.toml", "sealift schema > recipients.schema.json"),
            ("Which keys a secret may have", "sealift schema | jq '.\"$defs\".RawSecret.properties'"),
        ],
    ),
];

/// Returns the definition with its examples. Existing text after a page stays below them.
pub fn shown(command: Command) -> Command {
    on_pages(command, "")
}

fn on_pages(mut command: Command, path: &str) -> Command {
    if let Some((_, examples)) = PAGES.iter().find(|(page, _)| *page == path) {
        let heading = Styles::default().get_header().to_owned();
        let mut text = format!("{heading}Examples:{heading:#}");
        for (what, example) in *examples {
            // Writing to a String never fails.
            let _infallible = write!(text, "\n  # {what}\n  {example}");
        }
        if let Some(after) = command.get_after_help() {
            let _infallible = write!(text, "\n\n{after}");
        }
        command = command.after_help(text);
    }
    command.mut_subcommands(|verb| {
        let path = format!("{path} {}", verb.get_name());
        on_pages(verb, path.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::error::ErrorKind;

    use super::*;
    use crate::cli::command;

    /// Splits an example into words like a shell. Examples have no quotes.
    fn words(example: &str) -> Option<Vec<&str>> {
        let (_, rest) = example.split_once("sealift ")?;
        let ends = [" | ", " > ", " >> ", ")"];
        let rest = ends.iter().fold(rest, |rest, end| rest.split(end).next().unwrap_or(rest));
        Some(std::iter::once("sealift").chain(rest.split(' ')).collect())
    }

    fn pages(command: &Command, path: &str, found: &mut BTreeSet<String>) {
        found.insert(path.to_owned());
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            pages(verb, format!("{path} {}", verb.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_page_has_two_or_three() {
        let mut wanted = BTreeSet::new();
        pages(&command(), "", &mut wanted);
        let there: Vec<String> = PAGES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there.iter().cloned().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(there.len(), wanted.len(), "a page stands here once");
        for (path, examples) in PAGES {
            assert!((2..=3).contains(&examples.len()), "{path}");
        }
    }

    #[test]
    fn each_is_understood_and_about_its_page() {
        for (path, examples) in PAGES {
            for (what, example) in *examples {
                let words = words(example).unwrap_or_else(|| panic!("no command of sealift: {example}"));
                let parsed = command().try_get_matches_from(&words);
                assert!(
                    parsed.is_ok(),
                    "{example}: {}",
                    parsed.err().map(|error| error.to_string()).unwrap_or_default()
                );
                assert!(words[1..].join(" ").starts_with(path), "{path}: {example}");
                assert!(example.len() <= 78 && what.len() <= 76, "wider than a page: {example}");
            }
        }
    }

    /// Finds the commands in a source file: in backticks, or after a colon. Each `{…}` becomes `name`.
    fn named(source: &str) -> Vec<String> {
        let mut found = Vec::new();
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let ticked = line.split('`').skip(1).step_by(2);
            let ticked = ticked.filter(|part| part.starts_with("sealift ") && !part.contains('"'));
            let plain = line.split(": sealift ").skip(1).map(|rest| rest.split(['"', '(']).next().unwrap_or(rest));
            let plain = plain.filter(|rest| !rest.contains('`')).map(|rest| format!("sealift {rest}"));
            for command in ticked.map(str::to_owned).chain(plain) {
                let mut parts = command.split('{');
                let mut text = parts.next().unwrap_or_default().to_owned();
                for part in parts {
                    // Directly after a word it stands for more words, or none.
                    text += if text.ends_with(char::is_alphanumeric) { "" } else { "name" };
                    text += part.split_once('}').map_or(part, |(_, after)| after);
                }
                found.push(text.replace('\u{2026}', "name").trim().to_lowercase());
            }
        }
        found
    }

    #[test]
    fn each_that_a_message_names_is_understood() {
        let text = "// `sealift nosuch`\n\"run `sealift rm {own}`, `sealift rollback{words} --to N`; next: sealift seal {name}\"";
        assert_eq!(named(text), ["sealift rm name", "sealift rollback --to n", "sealift seal name"]);
        let (mut wrong, mut count) = (Vec::new(), 0);
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // These name verbs outside messages: in the examples, and in comments of generated files.
                if ["cli/examples.rs", "commands/fleet/init.rs", "migrate/scaffold.rs"]
                    .iter()
                    .any(|end| path.ends_with(end))
                {
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                for command in named(source.split("#[cfg(test)]\nmod tests {").next().unwrap()) {
                    let words = words(&command).unwrap_or_default();
                    count += 1;
                    // `name` stands for any value, and may be invalid here.
                    let kinds = [ErrorKind::ValueValidation, ErrorKind::InvalidValue, ErrorKind::DisplayVersion];
                    if let Err(error) = self::command().try_get_matches_from(words)
                        && !kinds.contains(&error.kind())
                    {
                        wrong.push(format!("{}: {command}: {:?}", path.display(), error.kind()));
                    }
                }
            }
        }
        assert!(wrong.is_empty() && count > 100, "{count} commands: {wrong:#?}");
    }
}
