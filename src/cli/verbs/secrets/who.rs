//! `sealift who`.

use std::str::FromStr;

use crate::cli::app::{App, Done};
use crate::commands::secrets::who::{is_host, knowledge, readers};
use crate::domain::counted::counted;
use crate::domain::name::{FileName, HostWord, NameError};
use crate::error::Error;

/// The arguments of `sealift who`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Args {
    /// A secret, or NAME/HOST
    #[arg(value_name = "SECRET", group = "what")]
    secret: Option<Word>,
    /// A host, present or removed
    #[arg(long, group = "what")]
    host: Option<HostWord>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// A secret, or what can be the name of a host alone.
#[derive(Clone)]
enum Word {
    File(FileName),
    Other(HostWord, NameError),
}

impl FromStr for Word {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse()
            .map(Self::File)
            .or_else(|fault| text.parse().map(|word| Self::Other(word, fault)).map_err(|_| fault))
    }
}

/// Prints the readers of a secret, or what a host reads.
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
        let secret = match secret {
            Word::File(file) => file,
            Word::Other(word, fault) => {
                let error = is_host(&session.fleet.policy, word.as_str());
                return Err(error.unwrap_or_else(|| Error::usage(fault.to_string())).into());
            }
        };
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
