//! Reads the values of recipients.toml with their positions, and collects every fault with its line.

use std::num::NonZeroU32;
use std::ops::Range;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::domain::name::{NameError, SecretName};
use crate::error::{Error, Kind};

pub const FILE: &str = "recipients.toml";

/// A value and its position in the text.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) span: Range<usize>,
    pub(super) value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), value: spanned.into_inner() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for At<T> {}
impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}
impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

pub(super) type Text = At<String>;

/// The offsets at which lines begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }
    pub(super) fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

/// Builds the policy from the raw tables and collects every fault.
pub(super) struct Reader {
    pub(super) lines: Lines,
    /// Whether the text is that of the file, so that line numbers are useful.
    pub(super) in_file: bool,
    pub(super) faults: Vec<Error>,
}

impl Reader {
    /// Records a fault. `help` may be empty.
    pub(super) fn fault(
        &mut self,
        span: &Range<usize>,
        key: &str,
        what: impl std::fmt::Display,
        help: impl Into<String>,
    ) {
        let line = self.lines.at(span.start);
        let place = if self.in_file { format!("{FILE}:{line}: ") } else { String::new() };
        let error = Error::usage(format!("{place}{key}: {what}"));
        let help = help.into();
        self.faults.push(if help.is_empty() { error } else { error.help(help) });
    }

    /// Parses a string of the file; records a fault under its key if that fails.
    pub(super) fn word<T>(&mut self, text: &Text, key: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display + Into<Refusal>,
    {
        match text.value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let refusal: Refusal = error.into();
                self.fault(&text.span, key, refusal.what, refusal.help);
                None
            }
        }
    }

    /// The name of a program or a driver: a single path component.
    pub(super) fn bare(&mut self, text: &Text, key: &str) -> Option<String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
        let fits = text.value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.value.len() <= 64
            && text.value.bytes().all(plain);
        if !fits {
            self.fault(&text.span, key, "not a bare name", "letters, digits and `._+-`, without a path");
        }
        fits.then(|| text.value.clone())
    }

    pub(super) fn day(&mut self, text: &Text, key: &str) -> Option<Date> {
        let day = text.value.parse::<Date>().ok().filter(|day| day.to_string() == text.value);
        if day.is_none() {
            self.fault(&text.span, key, "not a date", "write it as \"2027-03-01\"");
        }
        day
    }

    pub(super) fn days(&mut self, text: &Text, key: &str) -> Option<NonZeroU32> {
        let days = text.value.split_at_checked(text.value.len().saturating_sub(1)).and_then(|(number, unit)| {
            let each = match unit {
                "d" => 1,
                "w" => 7,
                "m" => 30,
                "y" => 365,
                _ => return None,
            };
            number.parse::<u32>().ok()?.checked_mul(each).filter(|days| *days <= 36_500).and_then(NonZeroU32::new)
        });
        if days.is_none() {
            self.fault(&text.span, key, "not a length of time", "write it as \"90d\", \"12w\", \"6m\" or \"1y\"");
        }
        days
    }
}

/// Why a word was refused, and what to do.
pub struct Refusal {
    what: String,
    help: String,
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self { what: error.to_string(), help: String::new() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        debug_assert_eq!(error.kind(), Kind::Usage);
        Self { what: error.message().to_owned(), help: error.advice().unwrap_or_default().to_owned() }
    }
}

/// A name from the file as it may be shown: only if it is valid. Anything else may be a pasted key or an escape
/// sequence.
pub(super) fn shown(name: &str) -> &str {
    if name.parse::<SecretName>().is_ok() { name } else { "…" }
}
