//! What people read is plain English in the field's own terms: messages, help pages and documents use none of these words.

use std::path::Path;

/// Words that have to be looked up, or that sealift used for things that have a usual name.
const AVOIDED: [(&str, &str); 13] = [
    ("anew", "again"),
    ("former", "previous, old"),
    ("formerly", "before"),
    ("whom", "turn the sentence round"),
    ("whoever", "anyone who"),
    ("told", "said, shown, reported"),
    ("meant", "intended, selected"),
    ("shall", "should, must"),
    ("mend", "fix; help"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("hint", "help"),
    ("thereof", "of it"),
];

/// The string literals of Rust sources, as written there, tests aside.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.split("#[cfg(test)]").next().unwrap_or_default().chars().peekable();
    let mut before = ' ';
    while let Some(letter) = rest.next() {
        match letter {
            '/' if rest.peek() == Some(&'/') => drop(rest.by_ref().find(|c| *c == '\n')),
            // A character, and no string begins with it.
            '"' if before == '\'' => {}
            '"' => {
                let mut literal = String::new();
                while let Some(c) = rest.next().filter(|c| *c != '"') {
                    literal.push(c);
                    literal.extend(if c == '\\' { rest.next() } else { None });
                }
                found.push(literal);
            }
            _ => {}
        }
        before = letter;
    }
    found
}

/// The comments from which the help pages are made.
fn help(text: &str) -> impl Iterator<Item = String> {
    let of_items =
        text.split("\n\n").filter(|part| part.contains("clap") || part.contains("#[arg") || part.contains("Args"));
    of_items.flat_map(str::lines).filter_map(|line| Some(line.trim().strip_prefix("/// ")?.to_owned()))
}

/// A document without what it quotes: code, and names of fields.
fn prose(text: &str) -> String {
    let outside_fences = text.split("```").step_by(2).collect::<String>();
    outside_fences.split('`').step_by(2).collect()
}

/// The avoided words in a text.
fn avoided(text: &str) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let words: Vec<String> = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
    AVOIDED.iter().filter(move |(word, _)| words.iter().any(|other| other == word))
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn what_is_read_is_found() {
    let text =
        "//! told\nlet a = \"one \\\" two\"; // \"told\"\nlet b = '\"'; f(\"three\n four\");\n#[cfg(test)] \"told\"";
    assert_eq!(literals(text), ["one \\\" two", "three\n four"]);
    assert_eq!(prose("a `told` b\n```\ntold\n```\nc"), "a  b\n\nc");
    assert_eq!(avoided("Shall I?").map(|(word, _)| *word).collect::<Vec<_>>(), ["shall"]);
}

#[test]
fn messages_help_and_documents_use_plain_words() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&top.join("src"), &mut all);
    files(&top.join("docs"), &mut all);
    all.extend(["README.md", "CONTRIBUTING.md"].map(|name| top.join(name)));
    let mut found = Vec::new();
    for path in all {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let texts: Vec<String> = match path.extension().and_then(std::ffi::OsStr::to_str) {
            // A single word is a name in a file or a protocol.
            Some("rs") => literals(&text).into_iter().filter(|text| text.contains(' ')).chain(help(&text)).collect(),
            Some("md") => vec![prose(&text)],
            _ => continue,
        };
        for text in texts {
            // What stands in braces is the name of a variable.
            let text = text.split('}').map(|part| part.split('{').next().unwrap_or_default()).collect::<String>();
            let near = |word: &str| {
                text.lines().find(|line| line.to_lowercase().contains(word)).unwrap_or_default().to_owned()
            };
            found.extend(
                avoided(&text).map(|(word, plain)| format!("{}: {word} ({plain}): {}", path.display(), near(word))),
            );
        }
    }
    assert!(found.is_empty(), "{} of them:\n{}", found.len(), found.join("\n"));
}
