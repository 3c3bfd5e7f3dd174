//! `sealift edit`, and the helper process that it starts.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::adapters::editor::{Editor, scratch};
use crate::cli::app::{App, Done};
use crate::cli::settings;
use crate::commands::secrets::edit::{self, Request};
use crate::domain::name::FileName;
use crate::domain::secret::age_header::VALUE_LIMIT;

/// The arguments of `sealift edit`.
#[derive(clap::Args)]
pub struct Args {
    /// The secret; NAME/HOST for one host's own value
    #[arg(value_name = "NAME")]
    name: FileName,
    /// Make the change that the shape check offers, such as dropping a newline at the end of a token
    #[arg(long, alias = "mend")]
    fix: bool,
    /// Accept a value of up to this many bytes
    #[arg(long, value_name = "BYTES", value_parser = crate::cli::args::size, default_value_t = VALUE_LIMIT, hide_default_value = true)]
    max_size: usize,
    /// Print what was sealed as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    // A mistyped name is said before an editor is missing, or a passphrase is asked for.
    let chosen = edit::choose(&session, args.name)?;
    let editor = settings::editor()?;
    let request = Request { editor, around: settings::surroundings(), fix: args.fix, limit: args.max_size };
    let report = edit::run(&mut session, &chosen, &request)?;
    if args.json {
        app.ui.json(&report)?;
    } else if let Some(sealed) = &report.sealed {
        app.ui.say(&format!("sealed {} (version {}) for {}", sealed.file, sealed.serial, sealed.readers.join(", ")));
    }
    Ok(None)
}

/// Started by `edit` in a mount namespace of its own; of no use to people.
#[derive(clap::Args)]
pub struct HelperArgs {
    /// The largest value, in bytes
    #[arg(long)]
    limit: usize,
    /// Where to mount
    point: PathBuf,
    /// The file's name
    name: String,
    /// The editor
    #[arg(last = true)]
    editor: Vec<OsString>,
}

pub fn help(args: HelperArgs) -> Done {
    let editor = (!args.editor.is_empty()).then(|| Editor::from_words(args.editor));
    scratch::help(&args.point, &args.name, editor.as_ref(), settings::locale().as_ref(), args.limit)?;
    Ok(None)
}
