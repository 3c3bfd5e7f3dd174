//! `sealift init`.

use std::path::PathBuf;

use crate::cli::app::{App, Done};
use crate::cli::{environment, settings};
use crate::commands::fleet::{init, takeover};
use crate::commands::staged;
use crate::commands::talk::{Event, Talk};
use crate::domain::name::Configuration;
use crate::error::{Error, Result};

/// The options to add a machine on itself.
const ITSELF: &str = "--key-file /etc/ssh/ssh_host_ed25519_key.pub";

/// The arguments of `sealift init`.
#[derive(clap::Args)]
pub struct Args {
    /// Begin from this configuration: /etc/nixos, or a checkout
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// The machine that the configuration is of [default: this one]
    #[arg(long, value_name = "NAME", requires = "from")]
    host: Option<Configuration>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, app: &App) -> Done {
    if let Some(from) = &args.from {
        return take_over(from, args, app);
    }
    let report = init::run(&app.named_directory(), &environment::caller()?.program)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    show(&report, app);
    Ok(None)
}

fn take_over(from: &std::path::Path, args: &Args, app: &App) -> Done {
    let backups = settings::state_directory()
        .ok_or_else(|| Error::usage("there is no place for a copy: HOME is not set"))?
        .join("backups");
    let directory = app.named_directory();
    let program = environment::caller()?.program;
    let request = takeover::Request {
        directory: &directory,
        from,
        host: args.host.as_ref(),
        backups: &backups,
        program: &program,
    };
    let report = takeover::run(&request)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(None);
    }
    app.ui.say(&format!("a copy of {} is in {}", from.display(), report.backup));
    for what in &report.not_copied {
        app.ui.warn(&format!("not copied: {what}"));
    }
    if !report.kept.is_empty() {
        app.ui.say(&format!("left as they are: {}", report.kept.join(", ")));
    }
    list(&report, app)?;
    if report.lacks_hardware {
        let host = &report.host;
        app.ui.say(&format!(
            "next: on {host}: nixos-generate-config --show-hardware-config > hosts/{host}/hardware-configuration.nix"
        ));
    }
    if report.fleet.written.iter().any(|path| path == "flake.nix") {
        app.ui.say("next: write into flake.nix where sealift's repository is, as the `url` of its input");
    }
    show(&report.fleet, app);
    Ok(None)
}

/// Lists the files that the user must review.
fn list(report: &takeover::Report, app: &App) -> Result<()> {
    for path in &report.not_placed {
        app.ui.line(&format!("not placed: {path}"))?;
    }
    if !report.not_placed.is_empty() {
        app.ui.say(&format!(
            "move what is still needed into hosts/{}/default.nix or modules/; seal the tokens and keys in it, do not copy them: `sealift adopt PATH:LINE`",
            report.host
        ));
    }
    Ok(())
}

fn show(report: &init::Report, app: &App) {
    match report.written.as_slice() {
        [] if report.hook.is_some() => app.ui.say("the fleet is there already"),
        [] => app.ui.say("the fleet is there already; nothing changed"),
        written => app.ui.say(&format!("wrote {}", written.join(", "))),
    }
    if report.hook.is_some() {
        app.ui.say("the pre-commit hook now refuses commits that add plaintext; `sealift hook remove` removes it");
    }
    if let Some(why) = &report.no_hook {
        app.ui.warn(&format!("there is no pre-commit hook: {why}"));
    }
    if !report.has_admin {
        app.ui.say("next: make your identity: sealift identity new --admin NAME");
    }
    for name in &report.not_hosts {
        let error = name.parse::<Configuration>().err().map_or_else(String::new, |error| error.to_string());
        app.ui.warn(&format!("{name} is configured here, and is {error}"));
    }
    match report.hosts.as_slice() {
        [] => {}
        [host] => app
            .ui
            .say(&format!("next: add the host: sealift host add {host} --ssh {host}   (on {host} itself: {ITSELF})")),
        hosts => app.ui.say(&format!(
            "next: add the hosts {}: sealift host add NAME --ssh NAME   (on the machine itself: {ITSELF})",
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )),
    }
    if let Some(rules) = &report.agenix {
        app.ui.say(&format!(
            "next: {rules} is of agenix: sealift import agenix --dry-run   (takes its secrets over as they are)"
        ));
    }
    if let Some(config) = &report.sops {
        app.ui.say(&format!("next: {config} is of sops: its values are sealed again, one by one: docs/import.md"));
    }
    for what in &report.not_read {
        app.ui.warn(&format!("not read: {what}"));
    }
    if !report.written.is_empty() {
        app.ui.event(Event::Last(staged(&report.written)));
    }
    if !report.not_read.is_empty() {
        app.ui.say("nothing of the flake is evaluated: add hosts that are not listed by their names: sealift host add NAME --ssh NAME");
    }
}
