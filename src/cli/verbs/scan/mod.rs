//! `sealift scan`.

pub mod hook;

use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::flake::{self, Flake};
use crate::adapters::git::Git;
use crate::adapters::nix::build;
use crate::adapters::prompt::Ask;
use crate::adapters::repository::Fleet;
use crate::cli::app::{App, Done};
use crate::cli::{environment, sarif, settings};
use crate::commands::scan::{self, Known, NotRead, Report, Where, Which, index};
use crate::domain::counted::counted;
use crate::domain::policy::Policy;
use crate::domain::scan::index_file::{FILE, KEY};
use crate::domain::scan::{Finding, Place, Weight, rules};
use crate::error::{Error, Kind, Result};

/// The arguments of `sealift scan`.
#[derive(clap::Args)]
pub struct Args {
    /// What the next commit would add, as the pre-commit hook looks at it
    #[arg(long, group = "place")]
    staged: bool,
    /// Every blob of the repository, or those that a range of commits brought
    #[arg(long, group = "place", value_name = "RANGE", num_args = 0..=1, default_missing_value = "")]
    history: Option<String>,
    /// The closure of a host, built if need be, or of a store path: what was built here
    #[arg(long, group = "place", value_name = "HOST|PATH")]
    store: Option<String>,
    /// With --store: also paths that a cache made
    #[arg(long, requires = "store")]
    full: bool,
    /// Look for the fleet's own values with the identity that is found; --identity implies it
    #[arg(long)]
    values: bool,
    /// Write the keyed index of the fleet's values, by which a hook or CI finds them without an identity
    #[arg(long, group = "place", conflicts_with = "sarif")]
    write_index: bool,
    /// Look for the fleet's own values by their index, with the key in this file [env: SEALIFT_INDEX_KEY]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["values", "write_index"])]
    index_key: Option<PathBuf>,
    /// List the rules
    #[arg(long, conflicts_with_all = ["place", "values"])]
    rules: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Print them as SARIF 2.1.0, for code hosts
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

/// Scans, and prints the findings.
pub fn run(args: &Args, app: &App) -> Done {
    if args.rules {
        return list(args, app);
    }
    if args.write_index {
        return write_index(args, app);
    }
    let directory = app.named_directory();
    let fleet = Fleet::find(&directory);
    if args.staged && fleet.is_err() && app.global.fleet.is_some() {
        let here = environment::working_directory();
        let there = std::fs::canonicalize(here.join(&directory)).unwrap_or_else(|_| here.join(&directory));
        if let Some(report) = scan::without_a_fleet(&Git::of(&here)?, &there)? {
            return shown(&report, args, false, app);
        }
    }
    // A repository without a fleet is scanned too, unless the fleet's values are requested. An identity from the
    // environment may belong to another fleet, so it is no such request.
    let asked = args.values || !app.global.identity.is_empty();
    let root = match fleet {
        Ok(root) => root,
        Err(error) if asked || args.index_key.is_some() => return Err(error.into()),
        Err(_) if directory.is_dir() => directory,
        // The fleet is missing from the work tree, and may still be in the index.
        Err(_) if args.staged => environment::working_directory(),
        Err(error) => return Err(error.into()),
    };
    let (known, policy) = if Fleet::find(&root).is_ok() {
        let (known, fleet) = known(asked, args, app)?;
        (known, Some(fleet.policy))
    } else {
        (Known::default(), None)
    };
    let place = match (&args.history, &args.store) {
        _ if args.staged => Where::Staged,
        (Some(range), _) => Where::History(Some(range.clone()).filter(|range| !range.is_empty())),
        (_, Some(system)) => {
            Where::Store(Which { system: system_of(system, &root, policy.as_ref(), app)?, full: args.full })
        }
        _ => Where::Tree,
    };
    let report = scan::run(&root, policy.as_ref(), known, &place, Some(app.ui.as_ref()));
    app.ui.end_progress();
    let report = report?;
    shown(&report, args, root.join(FILE).exists(), app)
}

/// Returns the fleet's known values: decrypted with an identity, or else from their index.
fn known(asked: bool, args: &Args, app: &App) -> Result<(Known, Fleet)> {
    let mut note = None;
    if asked || app.names_identities() {
        let session = app.session()?;
        let opened = session.identities().and_then(|identities| scan::known(&session.fleet, &identities));
        match opened {
            Ok(known) if asked || !known.strange => return Ok((known, session.fleet)),
            Ok(_) => note = Some(format!("{} opens nothing of this fleet", environment::IDENTITY)),
            Err(error) if asked => return Err(error),
            Err(error) => {
                let why = format!("their values are not looked for: {}", error.in_one_line());
                let blind = NotRead { path: "the fleet's secrets".to_owned(), why };
                return Ok((Known { unopened: vec![blind], ..Known::default() }, session.fleet));
            }
        }
    }
    let fleet = Fleet::open(&app.root()?)?;
    let (plugins, ask): (_, Arc<dyn Ask>) = (settings::plugins(&settings::user_config()?), app.ui.clone());
    let key = settings::index_key(args.index_key.as_ref());
    let known = index::known_by_index(&fleet, &key, &plugins, &ask)?.unwrap_or_default();
    note.iter().for_each(|note| app.ui.say(note));
    Ok((known, fleet))
}

/// Prints a report. In a hook the output names sealift, because it appears in the output of git.
fn shown(report: &Report, args: &Args, index: bool, app: &App) -> Done {
    if args.json {
        app.ui.json(report)?;
        return Ok(report.kind());
    }
    if args.sarif {
        app.ui.json_as_it_is(&sarif::report(report))?;
        return Ok(report.kind());
    }
    let refuses = args.staged && !report.findings.is_empty();
    if refuses {
        app.ui.line("sealift: this commit adds plaintext")?;
    }
    tell(report, index, args.staged, app)?;
    if refuses {
        app.ui.line(
            "to let a finding stand: an entry under [scan] allow in recipients.toml, or `# sealift:allow RULE REASON` beside it",
        )?;
        app.ui.line("to commit without looking: `git commit --no-verify`")?;
    }
    Ok(report.kind())
}

fn write_index(args: &Args, app: &App) -> Done {
    let written = index::write(&mut app.session()?)?;
    if args.json {
        app.ui.json(&written)?;
    } else {
        app.ui.line(&format!("wrote {FILE}: {}", counted(written.values, "value")))?;
        if written.made_key {
            app.ui.say(&format!("generated its key: the secret {KEY}, which only the admins can open"));
        }
        let key =
            format!("`(umask 077; sealift show {KEY} >FILE)` writes the key for CI's secret store and `--index-key`");
        app.ui.say(&if written.in_keyring {
            format!("its key is in the OS keyring, where the hook finds it; {key}")
        } else {
            key
        });
    }
    if !written.too_short.is_empty() {
        app.ui.warn(&format!("too short to be looked for (less than 8 bytes): {}", written.too_short.join(", ")));
    }
    for blind in &written.not_opened {
        app.ui.warn(&format!("not in the index: {}: {}", blind.path, blind.why));
    }
    Ok((!written.not_opened.is_empty()).then_some(Kind::Partial))
}

/// Returns the selected store path.
fn system_of(named: &str, root: &std::path::Path, policy: Option<&Policy>, app: &App) -> Result<String> {
    if named.starts_with('/') {
        return Ok(named.to_owned());
    }
    let host = policy.and_then(|policy| Some(policy.configuration(policy.called(named)?)));
    let configuration = host.map_or_else(|| named.parse(), Ok).map_err(|_| {
        Error::usage("neither a host's name nor a path of the store").help("name a host of the fleet, or /nix/store/…")
    })?;
    let git = Git::of(root)?;
    let flake = Flake::of(&git, flake::folder(root, &git.top).unwrap_or(root))?;
    app.ui.say(&format!("building the system of {configuration}"));
    build::unrooted(&flake.system_of(&configuration))
}

fn tell(report: &Report, index: bool, staged: bool, app: &App) -> Result<()> {
    for finding in &report.findings {
        let (sgr, weight) = match finding.weight {
            Weight::Severe => (31, "severe:"),
            Weight::High => (31, "high:"),
            Weight::Medium => (33, "medium:"),
        };
        app.ui.finding(
            sgr,
            weight,
            &format!("{}: {} ({})", place(finding), finding.what, finding.rule),
            &finding.help,
        )?;
    }
    let blind_as = if staged { "sealift: not read:" } else { "not read:" };
    for blind in &report.not_looked_at {
        app.ui.finding(33, blind_as, &format!("{}: {}", blind.path, blind.why), "")?;
    }
    for stale in &report.stale {
        app.ui.warn(&format!("{stale}; remove it"));
    }
    if !report.too_short.is_empty() {
        app.ui.warn(&format!("too short to be looked for (less than 8 bytes): {}", report.too_short.join(", ")));
    }
    if report.more > 0 {
        app.ui.warn(&format!("{} not listed: fix these first", counted(report.more, "more finding")));
    }
    if report.unreachable > 0 {
        app.ui.warn(&format!(
            "{} only in objects that no commit reaches (reflog, stash, unfinished work): `git reflog expire --expire=now --all && git gc --prune=now` removes them, and stashes with them",
            counted(report.unreachable, "finding")
        ));
    }
    if report.left_out > 0 {
        app.ui.say(&format!(
            "left out what comes from a cache, {}: `--full` looks there too",
            counted(report.left_out, "store path")
        ));
    }
    let values = match report.values {
        Some(values) if report.by_index => format!("{} of the fleet looked for by the index", counted(values, "value")),
        Some(values) => format!("{} of the fleet looked for", counted(values, "value")),
        None => {
            let key = if index { format!(", no key of {FILE}") } else { String::new() };
            format!("the fleet's own values were not looked for (no --identity{key})")
        }
    };
    let allowed = if report.allowed > 0 { format!(", {} allowed", report.allowed) } else { String::new() };
    app.ui.say(&format!(
        "{}, {} MiB: {}{allowed}; {values}",
        counted(report.files, "file"),
        report.bytes.div_ceil(1 << 20),
        counted(report.findings.len(), "finding"),
    ));
    Ok(())
}

/// Formats the place of a finding.
fn place(finding: &Finding) -> String {
    let member = finding.member.as_ref().map_or_else(String::new, |member| format!(" ({member})"));
    let at = format!("{}:{}:{}{member}", finding.path, finding.line, finding.column);
    match &finding.place {
        Place::Tree | Place::Store => at,
        Place::Index => format!("{at} (staged)"),
        Place::History { commit } => format!("{at} (commit {})", commit.get(..12).unwrap_or(commit)),
    }
}

fn list(args: &Args, app: &App) -> Done {
    let all: Vec<_> = rules::every().collect();
    if args.json {
        app.ui.json_rows("rules", &all)?;
        return Ok(None);
    }
    for rule in all {
        app.ui.line(&format!("{}: {}", rule.id, rule.what))?;
        app.ui.line(&format!("  why: {}", rule.why))?;
        app.ui.line(&format!("help: {}", rule.help))?;
    }
    Ok(None)
}
