//! `sealift seal`.

use std::path::PathBuf;

use crate::cli::app::{App, Done};
use crate::cli::args;
use crate::cli::input::{is_standard_input, standard_input};
use crate::commands::Session;
use crate::commands::secrets::seal::{Request, Source, refuse_unknown, run as seal};
use crate::domain::name::FileName;
use crate::domain::policy::edit::Declaration;
use crate::domain::policy::generate::{Generate, KINDS};
use crate::domain::secret::age_header::VALUE_LIMIT;
use crate::domain::secret::shape::shapes;
use crate::error::{Error, Result};

/// The arguments of `sealift seal`.
#[derive(clap::Args)]
pub struct Args {
    /// The secret; NAME/HOST for one host's own value
    #[arg(value_name = "NAME")]
    name: FileName,
    /// Read the value from standard input, every byte of it
    #[arg(long, group = "source")]
    stdin: bool,
    /// Read the value from this file; - is standard input
    #[arg(long, group = "source", value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Overwrite and remove that file once its content is sealed
    #[arg(long, requires = "from_file")]
    shred: bool,
    /// Generate the value
    #[arg(long, group = "source", value_name = "KIND", num_args = 0..=1, value_parser = args::generate())]
    #[expect(clippy::option_option, reason = "an option whose value may be left away")]
    generate: Option<Option<Generate>>,
    /// Length of a generated value: bytes before encoding for random bytes, otherwise characters
    #[arg(long, requires = "generate", value_name = "N", value_parser = args::length())]
    length: Option<u32>,
    /// Replace the value that is there, without asking
    #[arg(long)]
    replace: bool,
    /// Make the change that the shape check offers, such as `TOKEN=` before a bare token
    #[arg(long, alias = "mend")]
    fix: bool,
    /// Accept a value of up to this many bytes
    #[arg(long, value_name = "BYTES", value_parser = crate::cli::args::size, default_value_t = VALUE_LIMIT, hide_default_value = true)]
    max_size: usize,

    /// Who reads it: hosts, @tags or *, with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "For a new secret")]
    hosts: Vec<String>,
    /// Each host gets a value of its own
    #[arg(long, help_heading = "For a new secret")]
    per_host: bool,
    #[arg(long, help = format!("Its form: {}", shapes()), help_heading = "For a new secret")]
    shape: Option<String>,
    /// The owner of the delivered file
    #[arg(long, value_name = "USER", help_heading = "For a new secret")]
    owner: Option<String>,
    /// Its group
    #[arg(long, help_heading = "For a new secret")]
    group: Option<String>,
    /// Its permissions, such as 0400
    #[arg(long, help_heading = "For a new secret")]
    mode: Option<String>,
    /// Where it is found on the host
    #[arg(long, help_heading = "For a new secret")]
    path: Option<String>,
    /// A unit that is restarted when the value changed (may be given again)
    #[arg(long, value_name = "UNIT", help_heading = "For a new secret")]
    restart: Vec<String>,
    /// A unit to reload when the value has changed (may be given again)
    #[arg(long, value_name = "UNIT", help_heading = "For a new secret")]
    reload: Vec<String>,
    /// Deliver it before users are created
    #[arg(long, help_heading = "For a new secret")]
    needed_for_users: bool,
    /// When a value is overdue, such as 90d
    #[arg(long, value_name = "TIME", help_heading = "For a new secret")]
    rotate_every: Option<String>,
    /// The day on which the value expires, YYYY-MM-DD
    #[arg(long, value_name = "DAY", help_heading = "For a new secret")]
    expires: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", help_heading = "For a new secret")]
    description: Option<String>,
    /// Print what was sealed as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args, app: &App) -> Done {
    let mut session = app.session()?;
    let json = args.json;
    let request = request(args, &session)?;
    let report = seal(&mut session, request)?;
    if json {
        app.ui.json(&report)?;
    } else {
        for sealed in &report.sealed {
            app.ui.say(&format!(
                "sealed {} (version {}) for {}",
                sealed.file,
                sealed.serial,
                sealed.readers.join(", ")
            ));
            if let Some(public) = &sealed.public {
                app.ui.say(&format!("  its public key: {public}"));
            }
        }
    }
    Ok(None)
}

fn request(args: Args, session: &Session) -> Result<Request> {
    let mut kind = args.generate.flatten();
    if let Some(length) = args.length {
        let Some((_, size)) = kind.as_mut().and_then(Generate::size) else {
            let sized = KINDS.into_iter().filter_map(|(name, mut kind, _)| kind.size().map(|_| name));
            return Err(Error::usage("`--length` goes with a kind that has a length").help(format!(
                "name it: `--generate {}`; what is declared has its length in recipients.toml",
                sized.collect::<Vec<_>>().join("|")
            )));
        };
        *size = length;
    }
    let piped = args.from_file.as_deref().is_some_and(is_standard_input);
    if piped && args.shred {
        return Err(Error::usage("`--shred` is for a file; standard input is none"));
    }
    let source = if args.stdin || piped {
        refuse_unknown(session, &args.name, &args.hosts)?;
        // Before the fleet is locked: the value may come from another sealift.
        Source::Given(standard_input(args.max_size)?)
    } else if let Some(path) = args.from_file {
        Source::File { path, shred: args.shred }
    } else if args.generate.is_some() {
        Source::Generate(kind)
    } else {
        Source::Prompt
    };
    let texts = [
        ("owner", args.owner),
        ("group", args.group),
        ("mode", args.mode),
        ("path", args.path),
        ("shape", args.shape),
        ("rotate_every", args.rotate_every),
        ("expires", args.expires),
        ("description", args.description),
    ];
    let declaration = Declaration {
        hosts: args.hosts,
        per_host: args.per_host,
        fields: texts.into_iter().filter_map(|(field, text)| Some((field, text?))).collect(),
        restart: args.restart,
        reload: args.reload,
        needed_for_users: args.needed_for_users,
        generate: kind,
    };
    Ok(Request {
        file: args.name,
        source,
        declaration,
        sized: args.length.is_some(),
        replace: args.replace,
        fix: args.fix,
        limit: args.max_size,
    })
}
