//! The programs that compare two systems, dix and nvd, if the user chose one.

use std::time::Duration;

use crate::adapters::host::closure;
use crate::adapters::process::Invocation;
use crate::domain::policy::Differ;
use crate::error::{Error, Result};

/// The output limit of such a program, in bytes, and its time limit.
const COMPARED: u64 = 1 << 20;
const COMPARING: Duration = Duration::from_secs(120);

/// Another program's report on the differences of two systems in this machine's store, by lines.
pub fn told_by(program: Differ, before: &str, after: &str) -> Result<Vec<String>> {
    // The path of the running system comes from a host: it must not be taken for an option.
    if let Some(other) = [before, after].into_iter().find(|path| !closure::is_store_path(path)) {
        return Err(Error::failed(format!("{other} is not a store path")));
    }
    let call = match program {
        Differ::Dix => Invocation::new("dix"),
        Differ::Nvd => Invocation::new("nvd").args(["--color=never", "diff"]),
    };
    let call = call.args([before, after]).env("NO_COLOR", "1").at_most(COMPARED).at_longest(COMPARING);
    Ok(lines(&String::from_utf8_lossy(&call.read()?)))
}

/// The lines of a text without escape sequences for colours, which nix prints even into pipes.
fn lines(text: &str) -> Vec<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
            // Parameters, then a letter that ends the sequence.
            while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
            let _end = rest.next();
        } else {
            plain.push(c);
        }
    }
    plain.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_off() {
        assert_eq!(
            lines("\u{1b}[32;1mlinux\u{1b}[0m: 6.12 → 6.13, \u{1b}[31;1m+2.4 KiB\u{1b}[0m\n\n"),
            ["linux: 6.12 → 6.13, +2.4 KiB"]
        );
    }
}
