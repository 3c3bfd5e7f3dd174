//! Arguments that several verbs take, and their values.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::domain::address::Address;
use crate::domain::policy::generate::{Generate, KINDS};
use crate::domain::secret::age_header::VALUE_MAXIMUM;

/// Options that every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// The fleet's directory [default: the one that the working directory lies in; env: SEALIFT_FLEET]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub fleet: Option<PathBuf>,
    /// Use only this identity file (may be given again) [env: SEALIFT_IDENTITY]
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "Global options")]
    pub identity: Vec<PathBuf>,
    /// Read the passphrase, one line, from this open descriptor instead of asking for it
    #[arg(long, global = true, value_name = "N", help_heading = "Global options", value_parser = clap::value_parser!(i32).range(0..))]
    pub passphrase_fd: Option<i32>,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
}

/// A size of a value, in bytes: no larger than what could be read again.
pub fn size(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|size| (1..=VALUE_MAXIMUM).contains(size));
    fits.ok_or_else(|| format!("a number of bytes from 1 to {VALUE_MAXIMUM}"))
}

/// Reads the kind of a generated value, for arguments.
pub fn generate() -> impl TypedValueParser<Value = Generate> {
    let kinds = KINDS.map(|(name, _, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(kinds).try_map(|name| Generate::named(&name).ok_or("not a kind"))
}

/// Reads an address, for arguments.
pub fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "user@host, ssh://user@host:port, or an ssh_config alias".to_owned())
}
