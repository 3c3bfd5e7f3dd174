//! Decides whether Nix source may be given to the parser, by a linear pass over its tokens. The parser recurses and its
//! trees are freed by recursion, so a file with a few thousand brackets would crash the program. The tokenizer looks
//! ahead, so long runs of letters and dots make it slow. Both are refused here.

use std::fmt;

use rnix::SyntaxKind;
use rnix::SyntaxKind::{
    TOKEN_ADD, TOKEN_AND_AND, TOKEN_ASSERT, TOKEN_AT, TOKEN_COLON, TOKEN_COMMA, TOKEN_CONCAT, TOKEN_DIV, TOKEN_ELSE,
    TOKEN_ERROR, TOKEN_IDENT, TOKEN_IF, TOKEN_IMPLICATION, TOKEN_IN, TOKEN_INHERIT, TOKEN_INTERPOL_END,
    TOKEN_INTERPOL_START, TOKEN_INVERT, TOKEN_L_BRACE, TOKEN_L_BRACK, TOKEN_L_PAREN, TOKEN_LET, TOKEN_MUL, TOKEN_OR,
    TOKEN_OR_OR, TOKEN_PIPE_LEFT, TOKEN_PIPE_RIGHT, TOKEN_QUESTION, TOKEN_R_BRACE, TOKEN_R_BRACK, TOKEN_R_PAREN,
    TOKEN_REC, TOKEN_SEMICOLON, TOKEN_STRING_CONTENT, TOKEN_STRING_END, TOKEN_STRING_START, TOKEN_SUB, TOKEN_THEN,
    TOKEN_UPDATE, TOKEN_WITH,
};

/// The largest Nix file that is read, in bytes. No file written by hand comes near it.
pub const LIMIT: usize = 1 << 20;
/// The maximum depth of a tree: a bracket counts `BRACKET`, an operator or an argument 1.
const DEEPEST: usize = 1024;
/// The depth of a bracket: the parser recurses through all its precedence levels for each.
const BRACKET: usize = 8;
/// The depth of a body of `let`, `with`, `assert` or `else`: the parser calls itself directly.
const BODY: usize = 2;
/// How many characters the tokenizer may look ahead, per byte of the file.
const LOOKAHEAD: usize = 16;

/// Why a file was not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than `LIMIT`.
    Large,
    /// It is nested too deeply to be parsed safely.
    Deep(usize),
    /// It would take too long to tokenize.
    Slow(usize),
    /// It is not valid Nix, from this line on.
    Syntax(usize),
}

impl Unread {
    /// Whether this may hide something: a file that Nix could read, but that was not parsed.
    pub fn hides(self) -> bool {
        !matches!(self, Unread::Syntax(_))
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Large => write!(f, "it is larger than {LIMIT} bytes"),
            Unread::Deep(line) => write!(f, "line {line} nests too deep to be followed"),
            Unread::Slow(line) => write!(f, "line {line} is a run of characters that takes too long to read"),
            Unread::Syntax(line) => write!(f, "line {line} is not Nix"),
        }
    }
}

/// An open construct, and the depth of the tree within it so far.
struct Frame {
    /// The token that closes it.
    end: SyntaxKind,
    chain: usize,
    /// The number of `or` in the current list element, as in `a.b or c.d or …`; they end with the element.
    fallbacks: usize,
    /// The names of an `inherit` are siblings, and do not nest.
    flat: bool,
}

struct Guard {
    frames: Vec<Frame>,
    depth: usize,
}

/// Checks whether a file can be parsed safely.
pub fn admit(text: &str) -> Result<(), Unread> {
    if text.len() > LIMIT {
        return Err(Unread::Large);
    }
    let bytes = text.as_bytes();
    // The end of the file is not a token, so nothing closes this frame.
    let file = Frame { end: TOKEN_ERROR, chain: 0, fallbacks: 0, flat: false };
    let mut guard = Guard { frames: vec![file], depth: 0 };
    let (mut at, mut run_end, mut looked) = (0, 0, 0);
    // Whether the previous token can end an expression.
    let mut ended = false;
    for (kind, word) in rnix::tokenize(text) {
        if !matches!(kind, TOKEN_STRING_CONTENT | TOKEN_STRING_START | TOKEN_STRING_END) {
            run_end = run_end.max(at);
            run_end += bytes.get(run_end..).map_or(0, |rest| rest.iter().take_while(|byte| is_ahead(**byte)).count());
            looked += run_end - at;
            if looked > (bytes.len() + 4096) * LOOKAHEAD {
                return Err(Unread::Slow(line_of(text, at)));
            }
        }
        if kind == TOKEN_ERROR || !kind.is_trivia() && guard.take(kind, ended).is_none() {
            return Err(Unread::Syntax(line_of(text, at)));
        }
        if guard.depth > DEEPEST {
            return Err(Unread::Deep(line_of(text, at)));
        }
        if !kind.is_trivia() {
            ended = ends(kind);
        }
        at += word.len();
    }
    if guard.frames.len() == 1 { Ok(()) } else { Err(Unread::Syntax(line_of(text, at))) }
}

/// The line of a byte offset, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.split(|byte| *byte == b'\n').count()
}

/// The characters that the tokenizer looks past to distinguish identifiers from paths and URIs.
fn is_ahead(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_.+-<".contains(&byte)
}

/// Whether a token can end an expression.
fn ends(kind: SyntaxKind) -> bool {
    is_value(kind)
        || matches!(
            kind,
            TOKEN_STRING_END | TOKEN_R_BRACE | TOKEN_R_BRACK | TOKEN_R_PAREN | TOKEN_INTERPOL_END | TOKEN_OR
        )
}

/// Whether a token can begin an expression.
fn begins(kind: SyntaxKind) -> bool {
    is_value(kind) || matches!(kind, TOKEN_STRING_START | TOKEN_L_BRACE | TOKEN_L_BRACK | TOKEN_L_PAREN | TOKEN_REC)
}

fn is_value(kind: SyntaxKind) -> bool {
    kind == TOKEN_IDENT || kind.is_literal()
}

/// The token that closes what a token opens: a bracket, `let`, or the head of `with`, `assert` or `if`.
fn end_of(kind: SyntaxKind) -> Option<SyntaxKind> {
    Some(match kind {
        TOKEN_L_BRACE => TOKEN_R_BRACE,
        TOKEN_L_BRACK => TOKEN_R_BRACK,
        TOKEN_L_PAREN => TOKEN_R_PAREN,
        TOKEN_STRING_START => TOKEN_STRING_END,
        TOKEN_INTERPOL_START => TOKEN_INTERPOL_END,
        TOKEN_LET => TOKEN_IN,
        TOKEN_WITH | TOKEN_ASSERT => TOKEN_SEMICOLON,
        TOKEN_IF => TOKEN_THEN,
        TOKEN_THEN => TOKEN_ELSE,
        _ => return None,
    })
}

impl Guard {
    /// Processes one token. `None`: it cannot occur here. How the parser would handle such a place is unknown, so
    /// nothing after it counts as safe.
    fn take(&mut self, kind: SyntaxKind, ended: bool) -> Option<()> {
        let mut last = self.frames.last_mut()?;
        // Two adjacent expressions: another list element, or a function argument.
        if ended && begins(kind) {
            if last.end == TOKEN_R_BRACK && last.chain == 0 {
                self.depth -= std::mem::take(&mut last.fallbacks);
            } else if last.end != TOKEN_STRING_END && !last.flat {
                self.deeper(1);
                last = self.frames.last_mut()?;
            }
        }
        let entries = last.end == TOKEN_R_BRACE || last.end == TOKEN_IN && kind == TOKEN_SEMICOLON;
        match kind {
            // The body of `let`, `with`, `assert` or `if` is nested in it, and ends with the enclosing construct.
            TOKEN_THEN | TOKEN_ELSE | TOKEN_SEMICOLON if last.end == kind && !ended => return None,
            _ if last.end == kind => {
                self.depth -= BRACKET + last.chain + last.fallbacks;
                self.frames.pop();
                match kind {
                    TOKEN_THEN => self.open(TOKEN_ELSE),
                    TOKEN_ELSE | TOKEN_IN | TOKEN_SEMICOLON => self.deeper(BODY),
                    _ => {}
                }
            }
            // The end of an entry.
            TOKEN_SEMICOLON | TOKEN_COMMA if entries && ended => {
                self.depth -= std::mem::take(&mut last.chain);
                last.flat = false;
            }
            // Only valid as `inherit;`.
            TOKEN_SEMICOLON if entries => {}
            TOKEN_SEMICOLON | TOKEN_COMMA | TOKEN_R_BRACE | TOKEN_R_BRACK | TOKEN_R_PAREN | TOKEN_STRING_END
            | TOKEN_INTERPOL_END | TOKEN_IN | TOKEN_THEN | TOKEN_ELSE => return None,
            TOKEN_OR if last.end == TOKEN_R_BRACK => {
                last.fallbacks += 1;
                self.depth += 1;
            }
            TOKEN_ADD | TOKEN_SUB | TOKEN_MUL | TOKEN_DIV | TOKEN_CONCAT | TOKEN_UPDATE | TOKEN_IMPLICATION
            | TOKEN_AND_AND | TOKEN_OR_OR | TOKEN_OR | TOKEN_PIPE_LEFT | TOKEN_PIPE_RIGHT | TOKEN_QUESTION
            | TOKEN_INVERT => self.deeper(1),
            TOKEN_COLON | TOKEN_AT => self.deeper(BRACKET),
            TOKEN_INHERIT => last.flat = true,
            _ => end_of(kind).map_or((), |end| self.open(end)),
        }
        Some(())
    }

    fn open(&mut self, end: SyntaxKind) {
        self.frames.push(Frame { end, chain: 0, fallbacks: 0, flat: false });
        self.depth += BRACKET;
    }

    fn deeper(&mut self, by: usize) {
        self.depth += by;
        if let Some(last) = self.frames.last_mut() {
            last.chain += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses text that was admitted, on the small stack of a thread.
    fn parsed(text: &str) -> Result<bool, Unread> {
        admit(text)?;
        let parse = rnix::Root::parse(text);
        let nodes = parse.syntax().descendants().count();
        assert!(nodes > 0);
        Ok(parse.errors().is_empty())
    }

    #[test]
    fn what_people_write_is_read() {
        for text in [
            "{ config, lib, pkgs, ... }@args: { a.b = 1; inherit (x) y z; c = [ 1 ./a <n> \"${b}\" ''x ${c} y'' ]; }",
            "let a = 1; b = rec { c = a; }; in with lib; assert a == 1; if a then b.c or 2 else -a",
            "{ a = with b; [ c d ]; e = x: y: { f, g ? 1, ... }: f // g // { h = !i; }; \"a b\".${c} = ''$${d}''; }",
            "let { body = 1; }",
            "{ a = let b = 1; in b; c = if a then b else if c then d else e; }",
            "# only a comment\n{ }: { inherit; }",
            "{ a = b.c or { }; d = e ? f.g && h; i = x: x |> y; j = https://x.y/z; }",
            "a: b@{ c }: { d }@e: f",
        ] {
            let allowed = parsed(text);
            // The old form `let { … }` is refused, because it has no `in`.
            assert_eq!(allowed.is_ok_and(|well| well), !text.starts_with("let {"), "{text}: {allowed:?}");
        }
    }

    #[test]
    fn long_files_are_read() {
        let entries = "  a.b = lib.mkIf c [ x.y or z ({ d = 1; }) ];\n".repeat(20_000);
        assert_eq!(parsed(&format!("{{ lib, ... }}:\n{{\n{entries}}}\n")), Ok(true));
        let list = "x.y or z ".repeat(20_000);
        assert_eq!(parsed(&format!("[ {list} ]")), Ok(true));
    }

    #[test]
    fn nothing_is_nested_deeper_than_the_stack_carries() {
        for word in [
            "(",
            "[",
            "{a=",
            "[{a=",
            "x: ",
            "x@{y}: ",
            "{y}: ",
            "- ",
            "! ",
            "a ++ ",
            "a // ",
            "a -> ",
            "a + ",
            "a ",
            "a ? b ",
            "a.b or ",
            "[a.b or ",
            "with a; ",
            "assert a; ",
            "let a = 1; in ",
            "let a = ",
            "if a then ",
            "if a then b else ",
            "if ",
            "\"${",
            "''${",
            "a.${",
            "a.\"${",
            "{ ${",
            "./a${",
            "a |> ",
            "a <| ",
            "{a=with b;[",
            "{inherit (",
            "{a ? ",
            "- (",
            "x: - ",
            "with - a; - ",
            "{ a = -;",
            "{ a = - b; - ",
            "let { ",
            "let { a = b; } ",
            "(a;",
            "(a}",
            "if a;",
            "[a;",
            "{a=if b;",
            "rec {a=",
            "{ a = x: b; c = ",
            "a: { b }@",
        ] {
            for count in [10, 100, 500, 5_000, 200_000] {
                // The result does not matter, as long as it returns.
                let _any = parsed(&word.repeat(count));
                let _any = parsed(&format!("{}a", word.repeat(count)));
            }
            assert!(parsed(&format!("{}a", word.repeat(100_000))).is_err(), "{word}");
        }
    }

    #[test]
    fn deep_but_honest_nesting_is_read() {
        let text = format!("{}1{}", "{ a = ".repeat(60), "; }".repeat(60));
        assert_eq!(parsed(&text), Ok(true));
        assert_eq!(parsed(&vec!["[ a ]"; 500].join(" ++ ")), Ok(true));
        assert_eq!(parsed(&format!("{}1", "assert a == b; ".repeat(300))), Ok(true));
    }

    #[test]
    fn nothing_takes_longer_than_its_length() {
        for word in
            ["a.", "1.", "-", "a-", "<", "a/", "a+", "a.b ", "/", "/*", "\"", "'", "$", "~/", "a:", "_", "http:a", "\\"]
        {
            let begun = std::time::Instant::now();
            let _any = parsed(&word.repeat(LIMIT / 2 / word.len()));
            // Far below what quadratic time would take, and far above what a slow machine needs.
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{word}");
        }
    }
}
