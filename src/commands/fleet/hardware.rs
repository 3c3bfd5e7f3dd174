//! `identity new --yubikey|--tpm|--fido2`: an admin's key in hardware, made by the plugin's own program. Choosing the
//! hardware allows its plugin. The key is tested before anything refers to it, and a failure undoes everything except
//! what stays in the hardware.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::age::{hardware, identity_file};
use crate::adapters::fs::files;
use crate::adapters::prompt::Ask;
use crate::adapters::signals;
use crate::adapters::user_config::{self, Listing};
use crate::commands::Session;
use crate::commands::fleet::new_key::{Made, Named, Stored, adopt, allowed, free, has_other, named, outside, write};
use crate::domain::name::AdminName;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::plugin_identity::Printed;
use crate::domain::secret::recipient::KeyKind;
use crate::error::{Error, Kind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// A YubiKey's PIV application.
    Yubikey,
    /// The TPM of this machine.
    Tpm,
    /// A FIDO2 token with hmac-secret.
    Fido2,
}

/// The plugin for one kind of hardware, with the texts that the user needs.
struct Plugin {
    name: &'static str,
    what: &'static str,
    generate: &'static str,
    usual: &'static [&'static str],
    before: &'static str,
    after: &'static str,
    failed: &'static str,
    left: &'static str,
}

impl Hardware {
    fn plugin(self) -> Plugin {
        match self {
            Hardware::Yubikey => Plugin {
                name: "yubikey",
                what: "the YubiKey",
                generate: "--generate",
                usual: &["--pin-policy", "once", "--touch-policy", "cached"],
                before: "have the PIV PIN ready (a new YubiKey has 123456; you are prompted to change it), and touch it when it blinks",
                after: "to open files it asks for the PIN once for as long as it stays plugged in (a YubiKey 4: every time), and needs a touch, which holds for 15 seconds",
                failed: "plug in one YubiKey; on NixOS set `services.pcscd.enable = true;`",
                left: "a key that was made stays in its slot: `age-plugin-yubikey --list` shows it",
            },
            Hardware::Tpm => Plugin {
                name: "tpm",
                what: "the TPM of this machine",
                generate: "--generate",
                usual: &[],
                before: "nothing is asked and nothing is touched",
                after: "no PIN and no touch: any program that runs as you on this machine can open files with it; `-- --pin` makes a key with a PIN",
                failed: "on NixOS set `security.tpm2.enable = true;`, and add yourself to the group tss",
                left: "the key lived in its file only, which is gone; nothing stays in the TPM",
            },
            Hardware::Fido2 => Plugin {
                name: "fido2-hmac",
                what: "the FIDO2 token",
                generate: "-g",
                usual: &[],
                before: "have the token's PIN ready, touch it when it blinks, and answer y where a separate identity is asked for",
                after: "to open files it needs a touch, and the PIN if you chose one",
                failed: "plug in one token that supports hmac-secret, and answer y where a separate identity is asked for",
                left: "nothing stays in the token",
            },
        }
    }
}

pub struct New {
    pub admin: AdminName,
    /// The hardware to hold the key.
    pub hardware: Hardware,
    /// The plugin's own options, instead of the defaults.
    pub options: Vec<String>,
    /// The path of the identity file, if not in the configuration directory.
    pub file: Option<PathBuf>,
    /// sealift's directory in the user's configuration.
    pub directory: PathBuf,
    pub home: Option<PathBuf>,
    /// Whether to add another key to an admin who has one.
    pub add: bool,
}

/// Creates and tests the key, lists the plugin and file in the user's configuration, and adds the key to the policy.
/// Informs the user about touch and PIN.
pub fn new(session: &mut Session, request: &New) -> Result<Made> {
    let plugin = request.hardware.plugin();
    allowed(&session.fleet.policy, &request.admin, request.add)?;
    files::make_private_directory(&request.directory)?;
    let usual = request.directory.join(format!("{}.txt", plugin.name));
    let path = free(request.file.as_ref().unwrap_or(&usual))
        .map_err(|error| hinted(error, "give another place with `--file FILE`"))?;
    let path = outside(session, &path)?;
    let config = request.directory.join(user_config::FILE);
    let listing = || Listing::new(&config, request.home.as_deref(), Some(plugin.name), &path);
    // Fails early, before a key is made, if the configuration cannot be changed. It is read again before it is written.
    listing()?;
    let mut plugins = session.plugins.clone();
    plugins.allowed.insert(plugin.name.to_owned());
    let program = plugins.program(plugin.name)?;

    let usual = request.options.is_empty();
    let options =
        if usual { plugin.usual.iter().map(|word| (*word).to_owned()).collect() } else { request.options.clone() };
    let arguments = [vec![plugin.generate.to_owned()], options].concat();
    session.note(format!("running {} {}: {}", program.display(), arguments.join(" "), plugin.before));
    let ask: Arc<dyn Ask> = session.talk.clone();
    let made =
        hardware::generate(plugin.name, &program, &arguments, &ask).map_err(|error| hinted(error, plugin.failed))?;
    session.note(format!("checking that {} opens what is sealed to it", plugin.what));
    let label = path.display().to_string();
    hardware::prove(&made, &label, &plugins, &ask).map_err(|error| hinted(error, plugin.left))?;

    let mut stored = Stored::default();
    let named = match store(session, request, &made, &path, &listing, &mut stored) {
        Ok(named) => named,
        Err(error) => {
            stored.undo(session);
            return Err(hinted(error, plugin.left));
        }
    };
    session.plugins = plugins;
    let files_to_rekey = adopt(session, named);
    let recipient = made.recipient;
    session.note(if usual { plugin.after } else { "touch and PIN are as you chose them" });
    if recipient.kind() == KeyKind::Plugin {
        session.note(format!(
            "anyone who seals needs age-plugin-{0} too, and `plugins = [\"{0}\"]` in their configuration, but not the hardware",
            plugin.name
        ));
    }
    Ok(Made {
        admin: request.admin.clone(),
        kept: label,
        hardware: Some(plugin.what),
        backup: None,
        listed_in: None,
        second_admin: has_other(&session.fleet.policy, std::slice::from_ref(&recipient)),
        recipient: recipient.canonical().to_owned(),
        files_to_rekey,
    })
}

/// Writes the file and the configuration first, and the policy last.
fn store(
    session: &mut Session,
    request: &New,
    made: &Printed,
    path: &Path,
    listing: &dyn Fn() -> Result<Option<Listing>>,
    stored: &mut Stored,
) -> Result<Named> {
    let (git, journal) = session.lock()?;
    let named = named(session, &request.admin, &made.recipient, request.add)?;
    identity_file::write(path, &Plaintext::concat(&[made.content().as_bytes()]), None)?;
    stored.file = Some(path.to_owned());
    if let Some(listing) = listing()? {
        listing.write()?;
        stored.listing = Some(listing);
    }
    signals::check()?;
    write(session, &git, &journal, &named, &made.recipient, stored)?;
    Ok(named)
}

/// Adds this help to an error without help.
fn hinted(error: Error, what: &str) -> Error {
    if error.advice().is_some() || error.kind() == Kind::Interrupted { error } else { error.help(what) }
}
