//! Collects the facts of a machine before it is added: its proven host key, and its hardware. All come over one
//! connection whose host key is confirmed by a given fingerprint, the user's known_hosts, or the user at the terminal.
//! A key is never trusted on first use.

use std::path::{Path, PathBuf};

use crate::adapters::age::generate::generate;
use crate::adapters::fs::files;
use crate::adapters::process::Ended;
use crate::adapters::prompt::Ask;
use crate::adapters::ssh::first_contact::{Met, Vouch};
use crate::adapters::ssh::{Connection, Ssh};
use crate::commands::Session;
use crate::commands::fleet::host::refuse_known;
use crate::domain::address::Address;
use crate::domain::migrate::scaffold::{self, HARDWARE_LIMIT, Known, Layout};
use crate::domain::name::{Configuration, HostName, HostWord};
use crate::domain::nix::settings;
use crate::domain::policy::Policy;
use crate::domain::policy::generate::Generate;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::recipient::{Recipient, SshFingerprint};
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Kind, Result};

/// The machine to collect facts from.
pub struct Request<'a> {
    /// The name for it.
    pub name: &'a HostName,
    /// Its name in the flake.
    pub configuration: &'a Configuration,
    pub address: &'a Address,
    /// The fingerprint of its host key, if given.
    pub fingerprint: Option<&'a SshFingerprint>,
    /// Whether to read its hardware configuration.
    pub hardware: bool,
    pub runtime: Option<PathBuf>,
}

pub struct Learned {
    /// The host key, to which secrets are sealed.
    pub key: Recipient,
    /// Files for the repository.
    pub files: Vec<(String, String)>,
}

/// Returns the name of a new machine and its name in the flake. Derives one from the other if only one is given.
///
/// Fails with `Usage` if no valid, unused name can be derived.
pub fn named(policy: &Policy, word: &HostWord, given: Option<Configuration>) -> Result<(HostName, Configuration)> {
    let is_label = word.as_str().parse::<HostName>().ok();
    let configuration = match (is_label, given) {
        (Some(name), given) => return Ok((name.clone(), given.unwrap_or_else(|| Configuration::from(&name)))),
        (None, None) => Configuration::from(word),
        (None, Some(given)) => {
            return Err(Error::usage(format!("{word} is no name of a host beside its configuration, {given}"))
                .help(format!("run this again with a name of a-z, 0-9 and -, and `--configuration {given}`")));
        }
    };
    // An existing host is refused later, under its name.
    if let Some(known) = policy.called(word.as_str()) {
        return Ok((known.clone(), configuration));
    }
    let why = match configuration.label() {
        Some(label) if policy.called(label.as_str()).is_none() => return Ok((label, configuration)),
        Some(label) => format!("the name derived from {configuration} is {label}, and there is such a host already"),
        None => format!("no name of a host can be derived from {configuration}"),
    };
    Err(Error::usage(why)
        .help(format!("run this again with a name of a-z, 0-9 and -, and `--configuration {configuration}`")))
}

/// Collects the facts of a machine over SSH.
///
/// Fails with `Usage` if the host exists already, and with `Unreachable` if it cannot be reached or its key is not
/// confirmed.
pub fn learn(session: &Session, request: &Request<'_>) -> Result<Learned> {
    let name = request.name;
    refuse_known(&session.fleet.policy, name, &[])?;
    let ssh = Ssh::new(request.runtime.as_deref(), &session.fleet.policy.hosts)?;
    let (key, line) = proven(session, &ssh, request)?;
    let layout = layout(&session.fleet.root);
    let there = |path: &str| session.fleet.root.join(path).symlink_metadata().is_ok();
    let mut known = Known::default();
    if request.hardware && layout.hosts && !there(&scaffold::hardware_path(request.configuration)) {
        known.hardware = Some(hardware(name, &line)?);
    }
    if layout.hosts {
        let configuration = printed(&line, &["cat", "/etc/nixos/configuration.nix"]).unwrap_or_default();
        known.state_version = scaffold::state_version(
            settings::read(&configuration).state_version.as_deref(),
            &printed(&line, &["nixos-version"]).unwrap_or_default(),
        );
    } else {
        session.note("there is no hosts/ beside recipients.toml: its hardware configuration is not kept");
    }
    Ok(Learned { key, files: scaffold::files(request.configuration, layout, &known) })
}

/// Returns the present key of a host. Its pinned key is not required, because that is what changed.
pub fn key_now(session: &Session, request: &Request<'_>) -> Result<Recipient> {
    let ssh = Ssh::new(request.runtime.as_deref(), &session.fleet.policy.hosts)?;
    proven(session, &ssh, request).map(|(key, _)| key)
}

/// Returns the confirmed key of a machine, and a connection that proves it.
fn proven(session: &Session, ssh: &Ssh, request: &Request<'_>) -> Result<(Recipient, Connection)> {
    let name = request.name;
    let met = ssh.meet(name, request.address)?;
    vouched(name, &met, request.fingerprint, session.talk.as_ref())?;
    session.note(format!("{name} shows {}", print(&met.key)));
    let line = ssh.connect(name, request.address, &[met.key.canonical().to_owned()])?;
    Ok((met.key, line))
}

/// Generates the host key of a machine that is not installed yet. Returns the private half, the public half and the
/// files for the repository.
pub fn make(session: &Session, name: &HostName, configuration: &Configuration) -> Result<(Plaintext, Learned)> {
    refuse_known(&session.fleet.policy, name, &[])?;
    let made = generate(Generate::SshEd25519, &Shape::SshKey, &format!("root@{name}"))?;
    let key = Recipient::parse(made.public.as_deref().unwrap_or_default())?;
    let files = scaffold::files(configuration, layout(&session.fleet.root), &Known::default());
    Ok((made.value, Learned { key, files }))
}

/// Fails unless the key shown by a machine is confirmed.
fn vouched(name: &HostName, met: &Met, fingerprint: Option<&SshFingerprint>, ask: &dyn Ask) -> Result<()> {
    let refused = |what: String| Error::new(Kind::Unreachable, format!("{name}: {what}"));
    let (place, shown) = (&met.place, print(&met.key));
    if let Some(wanted) = fingerprint {
        if wanted.is_of(&met.key) {
            return Ok(());
        }
        return Err(refused(format!("the machine at {place} has another host key than the one given"))
            .because(format!("it shows {shown}; {wanted} was given; nothing was sent"))
            .help("`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its own console shows the right one; if it was given, somebody else answers at this address"));
    }
    match met.vouch {
        Vouch::Known => Ok(()),
        Vouch::Contradicted => Err(refused(format!("the machine at {place} has another host key than your known_hosts says"))
            .because(format!("it shows {shown}; nothing was sent"))
            .help("if it was reinstalled, give the key's fingerprint from its own console: `--fingerprint SHA256:…`; if not, somebody else answers at this address")),
        Vouch::Unknown => {
            let question = format!(
                "Your known_hosts does not know {place}. It shows {shown}. Is that what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on its own console?"
            );
            if ask.confirm(&question)? {
                return Ok(());
            }
            Err(refused(format!("the host key of {place} is not confirmed"))
                .because(format!("it shows {shown}, which your known_hosts does not know; nothing was sent"))
                .help("compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its own console, and give that: `--fingerprint SHA256:…`"))
        }
    }
}

/// Formats the fingerprint of a key as ssh does.
fn print(key: &Recipient) -> String {
    let kind = if key.canonical().starts_with("ssh-rsa ") { "RSA" } else { "ED25519" };
    format!("{} ({kind})", key.ssh_fingerprint().unwrap_or_default())
}

/// Reads the hardware configuration generated on a machine.
fn hardware(name: &HostName, line: &Connection) -> Result<String> {
    let output = line.call(&["nixos-generate-config", "--show-hardware-config"]).at_most(HARDWARE_LIMIT).run()?;
    if line.lost(output.ended) {
        return Err(line.failure(&output));
    }
    if !output.ended.success() {
        let error = Error::failed(format!("{name}: nixos-generate-config failed there ({})", output.ended));
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let error = if said.is_empty() { error } else { error.because(said) };
        let help = match output.ended {
            Ended::Code(127) => "is it NixOS? `--no-hardware` adds the host without its hardware configuration",
            _ => "run it there by hand; `--no-hardware` adds the host without its hardware configuration",
        };
        return Err(error.help(help));
    }
    scaffold::hardware(&output.stdout).map_err(|error| error.about(name))
}

/// Returns the output of a remote program, if it succeeds.
fn printed(line: &Connection, words: &[&str]) -> Option<String> {
    let output = line.call(words).at_most(HARDWARE_LIMIT).run().ok()?;
    output.ended.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns which files and folders the repository in this directory has.
pub fn layout(root: &Path) -> Layout {
    let folder = |name: &str| root.join(name).symlink_metadata().is_ok_and(|there| there.is_dir());
    let file = |name: &str| root.join(name).is_file();
    let flake = files::read(&root.join("flake.nix"), HARDWARE_LIMIT).unwrap_or_default();
    Layout {
        hosts: folder("hosts"),
        home: folder("home"),
        // A flake that names the folder already adds it to every machine.
        common: file("modules/common.nix") && !String::from_utf8_lossy(&flake).contains("./modules"),
        home_common: file("home/common.nix"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// Gives the same answer to every question, and counts them.
    struct Person(bool, std::sync::atomic::AtomicUsize);

    impl Ask for Person {
        fn passphrase(&self, _: &str) -> Result<SecretString> {
            Err(Error::failed("not asked"))
        }
        fn password(&self, _: &str) -> Result<SecretString> {
            Err(Error::failed("not asked"))
        }
        fn tell(&self, _: &str) {}
        fn confirm(&self, question: &str) -> Result<bool> {
            assert!(question.contains("SHA256:"), "{question}");
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(self.0)
        }
    }

    #[test]
    fn a_key_is_believed_only_on_somebodys_word() {
        let made = generate(Generate::SshEd25519, &Shape::SshKey, "x").unwrap();
        let key = Recipient::parse(made.public.as_deref().unwrap()).unwrap();
        let right: SshFingerprint = key.ssh_fingerprint().unwrap().parse().unwrap();
        let wrong: SshFingerprint = format!("SHA256:{}", "A".repeat(43)).parse().unwrap();
        let name = "web".parse().unwrap();
        for (fingerprint, vouch, yes, believed, asked) in [
            (Some(&right), Vouch::Contradicted, false, true, 0),
            (Some(&wrong), Vouch::Known, true, false, 0),
            (None, Vouch::Known, false, true, 0),
            (None, Vouch::Contradicted, true, false, 0),
            (None, Vouch::Unknown, true, true, 1),
            (None, Vouch::Unknown, false, false, 1),
        ] {
            let person = Person(yes, 0.into());
            let met = Met { key: key.clone(), place: "jay@web".into(), vouch };
            let outcome = vouched(&name, &met, fingerprint, &person);
            assert_eq!(outcome.is_ok(), believed, "{fingerprint:?} {vouch:?} {yes}");
            assert_eq!(person.1.into_inner(), asked);
            if let Err(error) = outcome {
                assert_eq!(error.kind(), Kind::Unreachable);
                assert!(error.advice().is_some());
            }
        }
    }
}
