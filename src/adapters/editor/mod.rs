//! The user's editor: which program it is, and which options keep it from leaving copies elsewhere.

#[cfg_attr(not(target_os = "linux"), path = "scratch_elsewhere.rs")]
pub mod scratch;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::adapters::process::{Invocation, path};
use crate::error::{Error, Result};

/// vim settings that keep the text out of swap, backup, undo and history files, ignore modelines and add no newline.
/// Applied before the user's own settings, and again after them.
const VIM: &str = "set nobackup nowritebackup noundofile noswapfile nomodeline noexrc nofixendofline viminfo=";
/// Editors that pass the file to a running program, which cannot see a private mount.
const REMOTE: [&str; 14] = [
    "atom",
    "code",
    "code-insiders",
    "codium",
    "cursor",
    "emacsclient",
    "gedit",
    "gnome-text-editor",
    "idea",
    "kate",
    "subl",
    "xed",
    "zed",
    "zeditor",
];
/// Editors, besides vim and nano, that are known to write nothing elsewhere by default.
const CLEAN: [&str; 9] = ["ed", "hx", "helix", "kak", "mg", "nvi", "vis", "sed", "busybox"];

/// The environment of an edit.
pub struct Surroundings {
    /// Directories that may be on a tmpfs, preferred ones first.
    pub places: Vec<PathBuf>,
    /// Our own program, which is started as the helper.
    pub program: Option<PathBuf>,
    /// The user's locale, for the editor.
    pub locale: Option<OsString>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Editor {
    words: Vec<OsString>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Vim,
    Nano,
    Remote,
    Clean,
    Other,
}

impl Editor {
    /// Parses a variable's value: split into words like in a shell, without any other expansion. A relative program
    /// path starts at `directory`.
    pub fn parse(variable: &str, text: &OsStr, directory: &Path) -> Result<Self> {
        let odd = |what: &str| {
            Error::usage(format!("{variable} {what}"))
                .help(format!("such as {variable}=vim, or {variable}='code --wait'"))
        };
        let words = split(text.to_str().ok_or_else(|| odd("is not UTF-8 text"))?)
            .ok_or_else(|| odd("has a quote that is not closed"))?;
        let (program, arguments) = words.split_first().ok_or_else(|| odd("names no program"))?;
        let program = if program.contains('/') { directory.join(program).into_os_string() } else { program.into() };
        let kind = kind_of(&program);
        Ok(Self { words: std::iter::once(program).chain(arguments.iter().map(Into::into)).collect(), kind })
    }

    /// From words that are already split.
    pub fn from_words(words: Vec<OsString>) -> Self {
        let kind = words.first().map_or(Kind::Other, |program| kind_of(program));
        Self { words, kind }
    }

    /// The program and its arguments, without the file.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Whether a running program edits the file.
    pub fn is_remote(&self) -> bool {
        self.kind == Kind::Remote
    }

    /// Whether it is not known to leave no copies elsewhere.
    pub fn is_unknown(&self) -> bool {
        self.kind == Kind::Other
    }

    pub fn name(&self) -> String {
        self.words.first().map(|program| name_of(Path::new(program))).unwrap_or_default()
    }

    /// The call that edits a file. It runs in the file's directory: editors read settings, and thus run code, from the
    /// directory they are started in.
    pub fn call(&self, file: &Path) -> Invocation {
        let mut words = self.words.iter();
        let call = Invocation::new(words.next().map_or(OsStr::new(""), OsString::as_os_str)).args(words);
        let call = match self.kind {
            Kind::Vim => {
                let call = call.args(["-n", "-i", "NONE", "--cmd", VIM, "-c", VIM]);
                if self.name().starts_with('g') { call.arg("-f") } else { call }
            }
            Kind::Nano => call.args(["--ignorercfiles", "--nonewlines"]),
            Kind::Remote | Kind::Clean | Kind::Other => call,
        };
        let directory = file.parent().unwrap_or(Path::new("/"));
        call.arg(file).in_dir(directory).env("TMPDIR", directory)
    }
}

fn kind_of(program: &OsStr) -> Kind {
    let typed = name_of(Path::new(program));
    // `vi` and `editor` may be any of several programs.
    let name = match typed.as_str() {
        "vi" | "view" | "ex" | "editor" | "sensible-editor" => {
            let real = path::found(&typed).and_then(|program| program.canonicalize().ok());
            real.map_or(typed, |real| name_of(&real))
        }
        _ => typed,
    };
    match name.split('.').next().unwrap_or_default() {
        "vim" | "nvim" | "gvim" | "vimx" | "rvim" | "evim" => Kind::Vim,
        "nano" | "rnano" => Kind::Nano,
        name if REMOTE.contains(&name) => Kind::Remote,
        name if CLEAN.contains(&name) => Kind::Clean,
        _ => Kind::Other,
    }
}

fn name_of(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Splits words like a POSIX shell, with quotes and backslashes; `None` for an unclosed quote.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => match letters.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        for (text, words) in [
            ("vim", vec!["vim"]),
            ("  code   --wait ", vec!["code", "--wait"]),
            ("sh -c 'x \"$1\"' -", vec!["sh", "-c", "x \"$1\"", "-"]),
            (r#""/a b/vi" a\ b "\$x\n""#, vec!["/a b/vi", "a b", "$x\\n"]),
            ("''", vec![""]),
            ("", vec![]),
            ("$(x) ;", vec!["$(x)", ";"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for open in ["'", "a \"b", "a\\"] {
            assert_eq!(split(open), None, "{open}");
        }
    }

    #[test]
    fn vim_is_told_to_leave_nothing() {
        let editor = Editor::parse("EDITOR", OsStr::new("/usr/bin/nvim -R"), Path::new("/")).unwrap();
        let shown = editor.call(Path::new("/d/f")).shown();
        assert!(
            shown.starts_with("/usr/bin/nvim -R -n -i NONE --cmd set nobackup") && shown.ends_with(" /d/f"),
            "{shown}"
        );
        assert!(Editor::parse("EDITOR", OsStr::new("emacsclient -t"), Path::new("/")).unwrap().is_remote());
        assert!(Editor::parse("EDITOR", OsStr::new("micro"), Path::new("/")).unwrap().is_unknown());
    }

    #[test]
    fn a_variable_that_names_nothing_is_refused_by_its_name() {
        for text in ["", "  ", "'vim"] {
            assert!(
                Editor::parse("VISUAL", OsStr::new(text), Path::new("/")).unwrap_err().message().starts_with("VISUAL")
            );
        }
    }
}
