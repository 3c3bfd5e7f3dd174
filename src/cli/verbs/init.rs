//! `sealift init`.

use crate::cli::{App, Done, settings};
use crate::commands::init;

/// Writes recipients.toml, secrets/ and .gitattributes where they are missing, and the pre-commit hook where there is none. A
/// second run changes nothing.
#[derive(clap::Args)]
pub struct Args {
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Makes or adopts the fleet.
pub fn run(args: &Args, app: &App) -> Done {
    let report = init::run(&app.named_directory(), &settings::caller()?.program)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    match report.written.as_slice() {
        [] => app.ui.say("the fleet is there already; nothing changed"),
        written => app.ui.say(&format!("wrote {}", written.join(", "))),
    }
    if report.hook.is_some() {
        app.ui.say("a commit with plaintext in it is refused from now on: `sealift hook remove` ends that");
    }
    if let Some(why) = &report.no_hook {
        app.ui.warn(&format!("there is no pre-commit hook: {why}"));
    }
    if !report.has_admin {
        app.ui.say("next: make your identity: sealift identity new --admin NAME");
    }
    for host in &report.hosts {
        app.ui.say(&format!("next: add the host: sealift host add {host} --key \"$(ssh-keyscan -t ed25519 {host} | cut -d' ' -f2-)\"  (compare its fingerprint on the machine)"));
    }
    Ok(None)
}
