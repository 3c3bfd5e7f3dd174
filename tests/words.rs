//! User-facing text is plain English with standard terms: messages, help pages and documents use none of these words.

use std::path::Path;

/// Words that readers would have to look up, or private names for things that have a usual name.
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

/// Names of fields and files, and a word that scan looks for: never shown as separate text.
const NAMES: [&str; 3] = ["mend", "former", "hint"];

/// The string literals in Rust source, unescaped, without tests.
pub fn literals(text: &str) -> Vec<String> {
    let mut outside = String::new();
    let mut inside = text;
    while let Some((before, module)) = inside.split_once("#[cfg(test)]\nmod tests {") {
        outside += before;
        inside = module.split_once("\n}\n").map_or("", |(_, after)| after);
    }
    outside += inside;
    let mut found = Vec::new();
    let mut rest = outside.as_str();
    let mut before = ' ';
    while let Some(letter) = rest.chars().next() {
        let hashes = rest.strip_prefix('r').map_or(0, |rest| rest.len() - rest.trim_start_matches('#').len());
        let mut after = rest.get(letter.len_utf8()..).unwrap_or_default();
        if letter == 'r'
            && (before == 'b' || !before.is_alphanumeric())
            && after.get(hashes..).is_some_and(|raw| raw.starts_with('"'))
        {
            let end = format!("\"{}", "#".repeat(hashes));
            let (literal, next) = after[hashes + 1..].split_once(&end).expect("a raw string ends");
            found.push(literal.to_owned());
            after = next;
        } else if rest.starts_with("//") {
            after = rest.split_once('\n').map_or("", |(_, next)| next);
        } else if letter == '"' && !['\'', '\\'].contains(&before) {
            // After one of these it is a character literal, not a string.
            let mut literal = String::new();
            let mut letters = after.chars();
            while let Some(c) = letters.next().filter(|c| *c != '"') {
                literal.push(c);
                literal.extend(if c == '\\' { letters.next() } else { None });
            }
            found.push(literal);
            after = letters.as_str();
        }
        (before, rest) = (letter, after);
    }
    found
}

/// The strings in a Nix file. Interpolations are code again, with their own strings.
fn nix_strings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // The open constructs, outermost first: the terminator of each, and its text.
    let mut open: Vec<(&str, String)> = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let end = open.last().map_or("}", |(end, _)| *end);
        let mut length = letter.len_utf8();
        let escape = match end {
            "\"" if letter == '\\' => 2,
            "''" if ["'''", "''$", "''\\"].iter().any(|escape| rest.starts_with(escape)) => 3,
            _ => 0,
        };
        if escape > 0 {
            length = escape;
        } else if end == "}" && letter == '#' {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if end == "}" && rest.starts_with("/*") {
            length = rest.find("*/").unwrap_or(rest.len());
        } else if rest.starts_with(end) {
            length = end.len();
            found.extend(open.pop().map(|(_, text)| text));
        } else if let Some(start) = ["\"", "''", "{"].into_iter().find(|start| end == "}" && rest.starts_with(start)) {
            length = start.len();
            open.push((if start == "{" { "}" } else { start }, String::new()));
        } else if rest.starts_with("${") {
            length = 2;
            open.push(("}", String::new()));
        } else if end != "}" {
            open.last_mut().expect("a string is open").1.push(letter);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    found.retain(|text| !text.is_empty());
    found
}

/// A document without quotations: code, and names of fields.
fn prose(text: &str) -> String {
    let outside_fences = text.split("```").step_by(2).collect::<String>();
    outside_fences.split('`').step_by(2).collect()
}

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
    let text = "//! told\nlet a = \"one \\\" two\"; // \"told\"\nlet b = ['\"', '\\\"']; f(\"three\n four\", br#\"five \"six\"\"#);
#[cfg(test)]\nfn a() {}\n#[cfg(test)]\nmod tests {\n    \"told\"\n}\nlet c = r\"seven\";\n";
    assert_eq!(literals(text), ["one \\\" two", "three\n four", "five \"six\"", "seven"]);
    let text = "{ a = \"one ${if b { c = \"two\"; } then ''three '''four'' else \"\\\"\"} five\"; # told \"told\"\n d = /* \" */ ''six'';}";
    assert_eq!(nix_strings(text), ["two", "three four", "one  five", "six"]);
    assert_eq!(prose("a `told` b\n```\ntold\n```\nc"), "a  b\n\nc");
    assert_eq!(avoided("Shall I?").map(|(word, _)| *word).collect::<Vec<_>>(), ["shall"]);
}

#[test]
fn messages_help_and_documents_use_plain_words() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["src", "docs", "nix", "scripts", "data", "tests/help"] {
        files(&top.join(folder), &mut all);
    }
    all.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| top.join(name)));
    let mut found = Vec::new();
    let mut read = std::collections::BTreeMap::<&str, usize>::new();
    for path in all {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let inside = path.strip_prefix(top).expect("below the top").display().to_string();
        let (kind, texts) = match path.extension().and_then(std::ffi::OsStr::to_str) {
            _ if inside.starts_with("nix/tests/") || inside.ends_with("tests.rs") => continue,
            Some("rs") => {
                // A single word is text, too; words joined by other characters are a path or a name.
                let named = |text: &String| {
                    NAMES.contains(&text.as_str()) || (!text.contains(' ') && text.contains(['-', '_', '/']))
                };
                ("rs", literals(&text).into_iter().filter(|text| !named(text)).collect())
            }
            Some("nix") => ("nix", nix_strings(&text)),
            Some("md") => ("md", vec![prose(&text)]),
            Some("json" | "toml" | "txt") => ("text", vec![text]),
            // Scripts print their first comment as help.
            _ if inside.starts_with("scripts/") => ("script", vec![text]),
            _ => continue,
        };
        *read.entry(kind).or_default() += texts.len();
        for text in texts {
            // Text in braces is a variable name.
            let text = text.split('}').map(|part| part.split('{').next().unwrap_or_default()).collect::<String>();
            let near = |word: &str| {
                text.lines().find(|line| line.to_lowercase().contains(word)).unwrap_or_default().to_owned()
            };
            found.extend(avoided(&text).map(|(word, plain)| format!("{inside}: {word} ({plain}): {}", near(word))));
        }
    }
    assert!(found.is_empty(), "{} of them:\n{}", found.len(), found.join("\n"));
    let least = [("rs", 4000), ("nix", 300), ("md", 25), ("text", 40), ("script", 10)];
    assert!(least.iter().all(|(kind, least)| read[kind] >= *least), "{read:?}");
}
