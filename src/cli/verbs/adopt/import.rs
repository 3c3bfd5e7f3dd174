//! `sealift import`.

use std::path::PathBuf;

use crate::cli::app::{App, Done};
use crate::cli::environment;
use crate::commands::adopt::import::{Report, Request, agenix};
use crate::domain::name::SecretName;
use crate::error::Error;

/// The arguments of `sealift import`.
#[derive(clap::Args)]
pub struct Args {
    /// The tool
    from: From,
    /// The rules file of agenix; by default secrets.nix at the top of the fleet, or in secrets/
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// A name in the rules whose key is a person's (may be given again)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    admin: Vec<String>,
    /// A name in the rules whose key is a machine's (may be given again)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    host: Vec<String>,
    /// Also give the files their seals, with an admin's key, where their rules and history allow it
    #[arg(long)]
    adopt: bool,
    /// Print what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Which tool.
#[derive(Clone, Copy, clap::ValueEnum)]
enum From {
    /// agenix and ragenix
    Agenix,
    /// sops-nix: not possible without the key; says what to do
    Sops,
}

pub fn run(args: Args, app: &App) -> Done {
    if matches!(args.from, From::Sops) {
        return Err(Error::usage(
            "a file of sops holds several values under one key, which only its owner can take apart",
        )
        .help("one value at a time: `sops decrypt --extract '[\"KEY\"]' FILE | sealift seal NAME --hosts HOST --stdin`")
        .into());
    }
    let mut session = app.session()?;
    let request = Request {
        rules: args.rules.map(|path| environment::working_directory().join(path)),
        admins: args.admin,
        hosts: args.host,
        adopt: args.adopt,
        dry_run: args.dry_run,
        yes: args.yes,
    };
    let report = agenix(&mut session, &request)?;
    if args.json {
        app.ui.json(&report)?;
        return Ok(report.kind());
    }
    if report.dry_run {
        report.lines().iter().try_for_each(|line| app.ui.line(line))?;
    }
    tell(&report, app);
    Ok(report.kind())
}

fn tell(report: &Report, app: &App) {
    for (file, why) in &report.left {
        app.ui.warn(&format!("{file} was left: {why}"));
    }
    for (secret, admins) in &report.widened {
        app.ui.warn(&format!("{secret}: {} could not open it; its seal lets every admin do so", admins.join(", ")));
    }
    for (secret, why) in &report.not_adopted {
        app.ui.warn(&format!("{secret} gets no seal: {why}"));
    }
    if report.dry_run {
        return;
    }
    app.ui.say("next: say owners, shapes and restarts in recipients.toml");
    let sealed = |secret: &SecretName| {
        report.adopted.contains(secret) || report.not_adopted.iter().any(|(other, _)| other == secret)
    };
    let left = report.access.iter().filter(|(secret, _)| !sealed(secret));
    let left = left.map(|(secret, _)| format!(" --adopt {secret}")).collect::<Vec<_>>().concat();
    if !left.is_empty() {
        app.ui.say(&format!("then an admin's key gives the files their seals: sealift rekey{left}"));
    }
}
