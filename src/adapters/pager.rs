//! The user's pager, as git has one: what is longer than the screen goes through it. Never a value: that has a type that is no
//! text.

use crate::adapters::process::Invocation;
use crate::error::Result;

/// A pager with its arguments, and what it is told by variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pager {
    words: Vec<String>,
    /// Whether the user has not said how less should behave.
    plain: bool,
}

impl Pager {
    /// Of words as a shell splits them; none where they name none, or `cat`. `plain`: no variable LESS is set.
    pub fn new(words: Vec<String>, plain: bool) -> Option<Self> {
        let names_one = words.first().is_some_and(|program| !program.is_empty() && program != "cat");
        names_one.then_some(Self { words, plain })
    }

    /// Shows a text on the terminal, until the person has seen it.
    ///
    /// Fails when it cannot be started: then nothing was shown.
    pub fn show(&self, text: &str) -> Result<()> {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let call = Invocation::new(program).args(arguments);
        // No longer than a screen: it ends by itself. Colours count, and the text stays.
        let call = if self.plain { call.env("LESS", "FRX") } else { call };
        call.input(text).attended().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::Pager;

    #[test]
    fn no_pager_is_none() {
        let pager = |words: &[&str]| Pager::new(words.iter().map(ToString::to_string).collect(), true);
        assert_eq!((pager(&[]), pager(&[""]), pager(&["cat"])), (None, None, None));
        assert!(pager(&["less", "-S"]).is_some());
    }
}
