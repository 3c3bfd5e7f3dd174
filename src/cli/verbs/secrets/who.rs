//! `sealift who`.

use crate::cli::app::{App, Done};
use crate::commands::secrets::who::{knowledge, readers};
use crate::domain::counted::counted;
use crate::domain::name::{FileName, HostWord};

/// The arguments of `sealift who`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Args {
    /// A secret, or NAME/HOST
    #[arg(value_name = "SECRET", group = "what")]
    secret: Option<FileName>,
    /// A host, present or removed
    #[arg(long, group = "what")]
    host: Option<HostWord>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Prints who, or what.
pub fn run(args: &Args, app: &App) -> Done {
    let session = app.session()?;
    if let Some(host) = &args.host {
        let known = knowledge(&session, host)?;
        if args.json {
            app.ui.json(&known)?;
            return Ok(None);
        }
        for file in &known.reads {
            app.ui.line(&format!("reads {file}"))?;
        }
        for file in &known.knows {
            app.ui.line(&format!("knows {file}"))?;
        }
        if !known.knows.is_empty() {
            let host = &known.host;
            app.ui.say(&format!(
                "{} known to {host} until rotated: sealift rotate --exposed-to {host}",
                counted(known.knows.len(), "value")
            ));
        }
    } else if let Some(secret) = &args.secret {
        let files = readers(&session, secret)?;
        if args.json {
            app.ui.json_rows("files", &files)?;
            return Ok(None);
        }
        for file in &files {
            if files.len() > 1 {
                app.ui.line(&format!("{}:", file.file))?;
            }
            for who in &file.now {
                let extra = file.drift.extra.iter().any(|extra| extra.to_string() == *who);
                let extra = if extra { "  (and should not: `sealift check` says more)" } else { "" };
                let keys = file.keys.get(who).filter(|keys| keys.len() > 1);
                let keys = keys.map_or(String::new(), |keys| format!("  by {} keys: {}", keys.len(), keys.join(", ")));
                app.ui.line(&format!("reads {who}{keys}{extra}"))?;
            }
            for who in &file.knew {
                app.ui.line(&format!("knows {who}"))?;
            }
            for who in &file.drift.missing {
                app.ui.line(&format!("lacks {who}  (run `sealift rekey`)"))?;
            }
        }
    }
    Ok(None)
}
