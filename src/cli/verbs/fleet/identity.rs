//! `sealift identity`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::adapters::age::discovery::KEYRING;
use crate::cli::app::{App, Done};
use crate::cli::settings;
use crate::commands::fleet::hardware::{self, Hardware};
use crate::commands::fleet::identity::{self, Keep, New};
use crate::commands::fleet::new_key::Made;
use crate::domain::name::AdminName;
use crate::error::Error;

/// The arguments of `sealift identity`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a key, keep it, and name it in recipients.toml
    New {
        /// Whose key it is
        #[arg(long, value_name = "NAME")]
        admin: AdminName,
        /// Keep it in this file, encrypted with a passphrase, instead of in the keyring; your config.toml lists it from then on. With
        /// hardware, the file that says where it is
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Keep that file without a passphrase
        #[arg(long, requires = "file", conflicts_with = "hardware")]
        plain: bool,
        /// Have age-plugin-yubikey make it on a YubiKey
        #[arg(long, group = "hardware")]
        yubikey: bool,
        /// Have age-plugin-tpm make it in this machine's TPM
        #[arg(long, group = "hardware")]
        tpm: bool,
        /// Have age-plugin-fido2-hmac make it with a FIDO2 token
        #[arg(long, group = "hardware")]
        fido2: bool,
        /// Where the keyring's backup goes, or the key where no keyring answers [default: identity.age in ~/.config/sealift;
        /// no backup where there is another admin]
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "hardware"])]
        backup: Option<PathBuf>,
        /// Add one more key, for an admin who has one already
        #[arg(long)]
        add: bool,
        /// Print what was made as JSON
        #[arg(long)]
        json: bool,
        /// Options for the plugin's key generation, such as `-- --pin`
        #[arg(last = true, value_name = "OPTION", requires = "hardware")]
        options: Vec<String>,
    },
    /// Print the public half of every key that is found, and where it was found
    Show {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a key from a file into the keyring; the file stays, as its backup. Without a keyring, it is listed in your config.toml
    Import {
        /// The file, as written by `identity new`, age-keygen or rage-keygen
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Name the key in recipients.toml as this admin's
        #[arg(long, value_name = "NAME")]
        admin: Option<AdminName>,
        /// Add one more key, for an admin who has one already
        #[arg(long, requires = "admin")]
        add: bool,
        /// Print what was taken over as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the key from the keyring; refused where it is the only one (with --identity FILE you show its backup)
    Forget {
        /// Only this admin's
        #[arg(long, value_name = "NAME")]
        admin: Option<AdminName>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

pub fn run(args: Args, app: &App) -> Done {
    match args.verb {
        Verb::New { admin, file, plain, yubikey, tpm, fido2, backup, add, json, options } => {
            let hardware = [(yubikey, Hardware::Yubikey), (tpm, Hardware::Tpm), (fido2, Hardware::Fido2)];
            if let Some((_, hardware)) = hardware.into_iter().find(|(named, _)| *named) {
                let directory = settings::config_directory().ok_or_else(|| {
                    Error::usage("HOME is not set: there is no configuration that could list the plugin")
                })?;
                let home = settings::home();
                let new = hardware::New { admin, hardware, options, file, directory, home, add };
                return made_known(app, &hardware::new(&mut app.session()?, &new)?, json);
            }
            let configuration = settings::configuration();
            let keep = match file {
                Some(path) => Keep::File { path, plain },
                None => Keep::Keyring { backup, usual: configuration.usual.clone() },
            };
            let made = identity::new(&mut app.session()?, &New { admin, keep, add, configuration })?;
            made_known(app, &made, json)
        }
        Verb::Show { json } => show(app, json),
        Verb::Import { file, admin, add, json } => {
            let configuration = settings::configuration();
            let made = identity::import(&mut app.session()?, &file, admin.as_ref(), add, &configuration)?;
            made_known(app, &made, json)
        }
        Verb::Forget { admin, yes } => {
            let named = app.names_identities();
            let gone = identity::forget(&app.session()?, admin.as_ref(), named, yes)?;
            if gone.is_empty() {
                app.ui.say(&format!("{KEYRING} holds no such key; nothing to do"));
            }
            gone.iter().for_each(|key| app.ui.say(&format!("removed {} from {KEYRING}", key.canonical())));
            Ok(None)
        }
    }
}

fn made_known(app: &App, made: &Made, json: bool) -> Done {
    if json {
        app.ui.json(made)?;
    } else {
        app.ui.line(&made.recipient)?;
        let kept = match made.hardware {
            Some(hardware) => format!("{hardware}; {} says where it is, and is not a key itself", made.kept),
            None => made.kept.clone(),
        };
        app.ui.say(&format!("{} is an admin; the key is in {kept}", made.admin));
        if let Some(configuration) = &made.listed_in {
            app.ui.say(&format!("{configuration} lists it: it is found without `--identity`"));
        }
        match &made.backup {
            Some(backup) => app
                .ui
                .say(&format!("its backup is {backup}: keep a copy on another medium, and remember the passphrase")),
            None if made.hardware.is_some() => app.ui.say(if made.second_admin {
                "a key in hardware has no copy: another admin of this fleet is the second way in"
            } else {
                "a key in hardware has no copy: add an offline key, or a second token, as another admin"
            }),
            None if made.kept == KEYRING && made.second_admin => {
                app.ui.say("there is no backup: another admin of this fleet is the second way in");
            }
            None if made.second_admin => {
                app.ui.say(
                    "keep a copy of it on another medium; until then another admin of this fleet is the second way in",
                );
            }
            None => app.ui.say(
                "keep a copy of it on another medium, or add a second admin: without it nobody could rekey or edit",
            ),
        }
    }
    match made.files_to_rekey {
        0 => {}
        1 => app.ui.say("1 sealed file does not open with it yet: run `sealift rekey` with a key that opens it"),
        many => app.ui.say(&format!(
            "{many} sealed files do not open with it yet: run `sealift rekey` with a key that opens them"
        )),
    }
    Ok(None)
}

fn show(app: &App, json: bool) -> Done {
    // A given file can be examined anywhere; the default places depend on the admins of the fleet.
    let shown = match app.session() {
        Err(_) if app.names_identities() => identity::show(&*app.named_identities()?, None, true)?,
        session => {
            let session = session?;
            identity::show(&*session.identities()?, Some(&session.fleet.policy), app.names_identities())?
        }
    };
    if json {
        app.ui.json_rows("identities", &shown)?;
        return Ok(None);
    }
    for key in &shown {
        match &key.recipient {
            Some(recipient) => {
                app.ui.line(recipient)?;
                let whose = key
                    .admin
                    .as_ref()
                    .map_or_else(|| "no admin of this fleet has it".to_owned(), |admin| format!("admin {admin}"));
                app.ui.say(&format!("  in {} ({whose})", key.found_in));
            }
            None if key.locked => {
                app.ui.say(&format!("a locked one in {0}: to unlock it, `--identity {0}`", key.found_in));
            }
            None => app.ui.say(&format!("one in {}, whose recipient only the plugin knows", key.found_in)),
        }
    }
    Ok(None)
}
