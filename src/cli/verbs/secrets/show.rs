//! `sealift show`.

use crate::cli::app::{App, Done};
use crate::commands::secrets::show;
use crate::domain::foreign::acts;
use crate::domain::name::FileName;
use crate::error::Error;

/// The arguments of `sealift show`.
#[derive(clap::Args)]
pub struct Args {
    /// The secret; NAME/HOST for one host's own value
    #[arg(value_name = "NAME")]
    name: FileName,
    /// Print to a terminal whatever the bytes are
    #[arg(long)]
    raw: bool,
}

pub fn run(args: &Args, app: &App) -> Done {
    let session = app.session()?;
    let value = show::run(&session, &args.name)?;
    if app.ui.shows_data() && !args.raw && !value.expose(plain) {
        return Err(Error::failed(format!("{} is not plain text, and standard output is a terminal", args.name))
            .help("send it to a file or a program, or give `--raw`")
            .into());
    }
    app.ui.value(&value)?;
    Ok(None)
}

/// Whether the bytes are text without control characters that affect a terminal.
fn plain(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| c == '\n' || c == '\t' || !acts(c)))
}
