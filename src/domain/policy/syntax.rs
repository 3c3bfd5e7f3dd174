//! The TOML syntax of recipients.toml: returns its tables, or fails if the text is not TOML or has unknown tables.
//! Errors have our own words, because those of the parser may quote the text.

use crate::domain::guarded::guarded;
use crate::domain::name::nearest;
use crate::domain::policy::reader::{FILE, Lines};
use crate::domain::policy::schema::RawPolicy;
use crate::domain::secret::recipient::private_key;
use crate::domain::toml_one::newer;
use crate::error::{Error, Result};

/// Parses the tables, and finds the start of each line.
pub(super) fn tables(text: &str) -> Result<(RawPolicy, Lines)> {
    if text.starts_with('\u{feff}') {
        return Err(
            Error::usage(format!("{FILE}:1: it begins with a byte order mark")).help("save it as UTF-8 without BOM")
        );
    }
    let lines = Lines::of(text);
    if let Some(at) = text.find('\r') {
        return Err(Error::usage(format!("{FILE}:{}: it has CRLF line endings", lines.at(at)))
            .help("git's core.autocrlf does that, to sealed files too: put the lines `recipients.toml text eol=lf` and `secrets/**/*.age binary merge=binary` into .gitattributes; commit what you changed there, for the rest removes it: `rm -r recipients.toml secrets` and `git checkout -- recipients.toml secrets`; where it was an editor, save the file with LF"));
    }
    if let Some(at) =
        text.match_indices("<<<<<<< ").map(|(at, _)| at).find(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')
    {
        return Err(Error::usage(format!("{FILE}:{}: a merge left conflict markers", lines.at(at)))
            .help("resolve the merge, then run `sealift check`"));
    }
    let raw = guarded(|| toml::from_str(text))
        .ok_or_else(|| Error::usage(format!("{FILE} is not valid TOML")))?
        .map_err(|fault| syntax(text, &lines, &fault))?;
    if let Some((at, what)) = newer(text) {
        return Err(Error::usage(format!("{FILE}:{}: {what}: Nix, which reads this file too, takes TOML 1.0 only", lines.at(at)))
            .help("write a table of several lines under a heading of its own in brackets, and a character as itself or as \\u…"));
    }
    Ok((raw, lines))
}

/// The error for what the TOML parser or serde refused.
fn syntax(text: &str, lines: &Lines, fault: &toml::de::Error) -> Error {
    let offset = fault.span().map_or(0, |span| span.start);
    let line = lines.at(offset);
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    if let Some(error) = source.split(['"', '\'', '=', ' ', ',']).find_map(private_key) {
        return Error::usage(format!("{FILE}:{line}: {}", error.message())).help(error.advice().unwrap_or_default());
    }
    let message = fault.message();
    let quoted = |from: &str| message.strip_prefix(from).and_then(|rest| rest.split('`').next());
    let at = |what: String| Error::usage(format!("{FILE}:{line}: {what}"));
    if let Some(word) = quoted("unknown field `").or(quoted("unknown variant `")) {
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        // A word that is similar to no known one may be a value in the wrong place: it is not quoted.
        return match nearest(word, known.iter().copied()) {
            Some(near) => at(format!("unknown key or word `{word}`")).help(format!("did you mean `{near}`?")),
            None => at("an unknown key or word".to_owned()).help(format!("known here: {}", known.join(", "))),
        };
    }
    if let Some(word) = quoted("missing field `") {
        return at(format!("`{word}` is missing"));
    }
    if let Some((_, expected)) = message.rsplit_once(", expected ").filter(|_| message.starts_with("invalid ")) {
        let key = source.split_once('=').map(|(key, _)| key.trim()).filter(|key| is_key(key));
        let named = key.map_or_else(String::new, |key| format!("{key}: "));
        return at(format!("{named}expected {}", kind(expected)));
    }
    if message.starts_with("duplicate key") {
        return at("this key is given twice".to_owned()).help("keep one of the two");
    }
    at("not valid TOML here".to_owned()).help("look for an unclosed quote or bracket, a missing `=`, or a value without its double quotes: `mode = \"0400\"`, `hosts = [\"web\"]`")
}

/// Whether a string looks like a key of the format, and not like a value in the wrong place.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The type that serde expected, in terms of the file format.
fn kind(expected: &str) -> &'static str {
    let whole = |rest: &str| rest.parse::<u8>().is_ok_and(|bits| matches!(bits, 8 | 16 | 32 | 64));
    match expected {
        "a sequence" => "a list, as in [\"…\"]",
        "a string" => "text in quotes",
        "a boolean" => "true or false",
        "a map" => "a table",
        "an integer" => "a whole number",
        "a nonzero u32" => "a whole number above 0",
        other if other.strip_prefix(['u', 'i']).is_some_and(whole) => "a whole number",
        other if other.contains("enum Generate") => "a table, as in { kind = \"password\" }",
        other if other.starts_with("struct ") || other.contains("enum ") => "a table",
        _ => "another kind of value",
    }
}
