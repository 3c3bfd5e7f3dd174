//! The user's pager, chosen as git does: output longer than the screen goes through it. Secret values never do: their
//! type is not a string.

use crate::adapters::process::Invocation;
use crate::error::Result;

/// A pager with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pager {
    words: Vec<String>,
    /// Whether the user has not set LESS.
    plain: bool,
}

impl Pager {
    /// From words split like in a shell; `None` if they name no program, or `cat`. `plain`: the variable LESS is not
    /// set.
    pub fn new(words: Vec<String>, plain: bool) -> Option<Self> {
        let names_one = words.first().is_some_and(|program| !program.is_empty() && program != "cat");
        names_one.then_some(Self { words, plain })
    }

    /// Shows a text on the terminal until the user quits the pager.
    ///
    /// Fails if the pager cannot be started; nothing was shown then.
    pub fn show(&self, text: &str) -> Result<()> {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let call = Invocation::new(program).args(arguments);
        // Quit if it fits on a screen, pass colours through, and leave the text on the screen.
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
