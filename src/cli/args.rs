//! Arguments and value parsers shared by several verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, RangedI64ValueParser, TypedValueParser};

use crate::domain::address::Address;
use crate::domain::policy::generate::{Generate, KINDS, SIZES};
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
    /// Print only warnings, errors and what was asked for
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
}

/// Parses the size limit of a value, in bytes: at most what could be read back.
pub fn size(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|size| (1..=VALUE_MAXIMUM).contains(size));
    fits.ok_or_else(|| format!("a number of bytes from 1 to {VALUE_MAXIMUM}"))
}

/// Parses the kind of a generated value.
pub fn generate() -> impl TypedValueParser<Value = Generate> {
    let kinds = KINDS.map(|(name, _, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(kinds).try_map(|name| Generate::named(&name).ok_or("not a kind"))
}

/// Parses the length of a generated value.
pub fn length() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*SIZES.start())..=i64::from(*SIZES.end()))
}

/// The longest duration accepted, in seconds.
const A_DAY: u64 = 24 * 3600;

/// Parses a duration: a number and s, m or h.
pub fn time(text: &str) -> Result<Duration, String> {
    let rule = || "a number and s, m or h, such as 90s or 10m: up to 24h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(rule)?;
    let each = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(rule()),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = plain.then(|| number.parse::<u64>().ok()?.checked_mul(each)).flatten();
    seconds.filter(|seconds| (1..=A_DAY).contains(seconds)).map(Duration::from_secs).ok_or_else(rule)
}

/// Parses an address.
pub fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "user@host, ssh://user@host:port, or an ssh_config alias".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_what_is_none_is_refused() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("24h", 24 * 3600)] {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "m", "10", "+1m", "0s", "25h", "1d", "1.5h", "99999999999999999999h", "10µ"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
