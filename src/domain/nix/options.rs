//! The options of NixOS modules that take a secret: those that take it inline, with the counterpart that reads it from
//! a file, and those that only take the path of a file. Inline values are in the Nix store of every machine that builds
//! them, readable by everybody. The table is data/nixos-options.json, which the Nix modules read, too; each row is one
//! option of a module.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// How the secret is given as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Only the value, read by the service or by a script before it starts.
    PlainFile,
    /// `NAME=value`, read by systemd before it starts the service.
    EnvFile,
    /// Only the value, passed by systemd, so that the service's user does not need read permission.
    Credential,
    /// A part of the configuration that the service reads in addition to its own.
    RuntimeFile,
}

/// One option. In a path, `*` matches any one name. Anything may precede the path (`config`, a container, a list of
/// modules).
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The option that takes the secret inline; `None` for a module that only takes the path of a file.
    pub option: Option<String>,
    /// The option that takes the path of a file; `None` if the module has none.
    pub file: Option<String>,
    pub form: Option<Form>,
    /// The variable in an environment file; `*`: the last name of the option.
    pub key: Option<String>,
    /// The shape of the file, if it does not follow from the form.
    pub shape: Option<String>,
    /// Whether `file` takes a list of paths.
    #[serde(default)]
    pub list: bool,
    /// The value to write for `file`, with `%` for the path; only the path by default.
    pub value: Option<String>,
    /// The content to seal, with `%` for the value; only the value by default.
    pub content: Option<String>,
    /// The owner of the file; `{}` is the first name that a `*` matches.
    #[serde(default = "root")]
    pub owner: String,
    /// The unit that reads it at its start; `{}` as above. `None`: unknown, or no unit to restart.
    pub unit: Option<String>,
    /// Whether it is read before users are created.
    #[serde(default)]
    pub users: bool,
    /// The only rule that checks this option, which is not a secret by its name alone.
    pub rule: Option<String>,
    /// A release of NixOS that has the option; earlier ones may have it, too.
    pub since: Option<String>,
    /// The default value of the option.
    pub default: Option<String>,
    /// What to do if a single edit cannot move the secret.
    pub how: Option<String>,
    /// What else a person needs to know.
    pub note: Option<String>,
    /// The module's file below nixos/modules.
    pub module: String,
}

fn root() -> String {
    "root".to_owned()
}

/// The text of the table.
const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/nixos-options.json"));

struct Table {
    rows: Vec<Row>,
    /// Rows by the last name of the inline option.
    inline: HashMap<String, Vec<usize>>,
    /// Rows by the last name of the file option.
    files: HashMap<String, Vec<usize>>,
}

static OPTIONS: LazyLock<Table> = LazyLock::new(|| {
    // The tests below fail if the table cannot be parsed.
    let rows: Vec<Row> = serde_json::from_str(TABLE).unwrap_or_default();
    let index = |of: fn(&Row) -> Option<&String>| {
        let mut index: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            if let Some(path) = of(row) {
                index.entry(path.rsplit('.').next().unwrap_or_default().to_owned()).or_default().push(at);
            }
        }
        index
    };
    let (inline, files) = (index(|row| row.option.as_ref()), index(|row| row.file.as_ref()));
    Table { rows, inline, files }
});

#[cfg(test)]
pub fn rows() -> &'static [Row] {
    &OPTIONS.rows
}

impl Row {
    /// Whether the value is a password hash, from which the password can be guessed, and not a password.
    pub fn is_hash(&self) -> bool {
        let last = self.option.as_deref().and_then(|option| option.rsplit('.').next());
        last.is_some_and(|word| word.to_ascii_lowercase().contains("hashed"))
    }

    /// Whether the option is a set of variables: only those with the name of a secret are secrets.
    pub fn is_a_variable(&self) -> bool {
        self.key.as_deref() == Some("*")
    }

    /// The option that takes the path, with its stars replaced by `stars`.
    pub fn twin(&self, stars: &[String]) -> Option<Vec<String>> {
        let mut stars = stars.iter();
        let words = self.file.as_deref()?.split('.');
        words.map(|word| if word == "*" { stars.next().cloned() } else { Some(word.to_owned()) }).collect()
    }

    /// The shape of the file according to the row.
    pub fn shape(&self, stars: &[String]) -> String {
        match (&self.shape, self.form, self.key.as_deref()) {
            (Some(shape), ..) => shape.clone(),
            (None, Some(Form::EnvFile), Some("*")) => {
                format!("env:{}", stars.last().map_or("", String::as_str))
            }
            (None, Some(Form::EnvFile), Some(key)) => format!("env:{key}"),
            (None, Some(Form::EnvFile | Form::RuntimeFile), None) => "raw".to_owned(),
            (None, ..) => "token".to_owned(),
        }
    }
}

/// The row for an option that takes a secret inline at this path, and the names that its stars match.
pub fn find<'a>(path: &[&'a str]) -> Option<(&'static Row, Vec<&'a str>)> {
    among(&OPTIONS.inline, path, |row| row.rule.is_none().then_some(row.option.as_deref()).flatten())
}

/// The row for an option at this path that only this rule checks.
pub fn find_for<'a>(rule: &str, path: &[&'a str]) -> Option<(&'static Row, Vec<&'a str>)> {
    among(&OPTIONS.inline, path, |row| (row.rule.as_deref() == Some(rule)).then_some(row.option.as_deref()).flatten())
}

/// The row for an option that takes the path of a secret's file at this path.
pub fn find_file<'a>(path: &[&'a str]) -> Option<(&'static Row, Vec<&'a str>)> {
    among(&OPTIONS.files, path, |row| {
        row.rule.is_none().then_some(row.file.as_deref()).flatten().filter(|_| row.value.is_none())
    })
}

fn among<'a>(
    index: &HashMap<String, Vec<usize>>,
    path: &[&'a str],
    pattern: impl Fn(&'static Row) -> Option<&'static str>,
) -> Option<(&'static Row, Vec<&'a str>)> {
    let named = path.last().and_then(|last| index.get(*last));
    let any = index.get("*");
    let mut rows = named.into_iter().chain(any).flatten().filter_map(|at| OPTIONS.rows.get(*at));
    rows.find_map(|row| Some((row, stars(pattern(row)?, path)?)))
}

/// The names that the stars of a pattern match, if the pattern matches the end of the path.
pub fn stars<'a>(pattern: &str, path: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut stars = Vec::new();
    let mut words = path.iter().rev();
    for wanted in pattern.rsplit('.') {
        let word = *words.next()?;
        if wanted == "*" {
            stars.push(word);
        } else if wanted != word {
            return None;
        }
    }
    stars.reverse();
    Some(stars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{UnitName, UnixName};
    use crate::domain::secret::shape::Shape;

    #[test]
    fn rows_hold_what_a_policy_takes() {
        let read = serde_json::from_str::<Vec<Row>>(TABLE);
        assert!(read.is_ok(), "{read:?}");
        assert!(rows().len() >= 250, "{}", rows().len());
        let mut seen = std::collections::HashSet::new();
        for row in rows() {
            let name = row.option.as_ref().or(row.file.as_ref()).unwrap();
            assert!(seen.insert((row.option.as_ref(), row.option.is_none().then_some(&row.file))), "twice: {name}");
            let stars = vec!["x".to_owned(); 8];
            assert!(row.shape(&stars).parse::<Shape>().is_ok(), "{name}");
            assert!(row.owner.replace("{}", "x").parse::<UnixName>().is_ok(), "{name}");
            assert!(row.unit.iter().all(|unit| unit.replace("{}", "x").parse::<UnitName>().is_ok()), "{name}");
            assert_eq!(row.file.is_some(), row.form.is_some(), "{name}: a file has a form");
            assert!(row.file.is_some() || row.how.is_some(), "{name}: neither a file nor what to do");
            assert!(row.how.iter().chain(&row.note).all(|text| !text.is_empty()), "{name}");
            assert!(row.value.iter().chain(&row.content).all(|text| text.matches('%').count() == 1), "{name}");
            assert!(row.key.is_none() || row.form == Some(Form::EnvFile), "{name}");
            assert!(
                !row.is_a_variable() || row.option.as_deref().is_some_and(|option| option.ends_with(".*")),
                "{name}"
            );
            // The stars of `file` are the first ones of `option`, so each has a name.
            let count =
                |path: &Option<String>| path.as_deref().map_or(0, |path| path.split('.').filter(|w| *w == "*").count());
            assert!(row.option.is_none() || count(&row.file) <= count(&row.option), "{name}");
        }
    }

    #[test]
    fn a_path_is_found_by_its_end() {
        let path = ["containers", "x", "config", "services", "gitea-actions-runner", "instances", "main", "token"];
        let (row, stars) = find(&path).unwrap();
        assert_eq!((row.unit.as_deref(), stars), (Some("gitea-runner-{}.service"), vec!["main"]));
        assert!(find(&path[..7]).is_none());
        assert!(find(&["gitea-actions-runner", "instances", "main", "token"]).is_none());
        let (row, stars) = find_file(&["services", "authelia", "instances", "a", "secrets", "jwtSecretFile"]).unwrap();
        assert_eq!((row.owner.as_str(), stars), ("authelia-{}", vec!["a"]));
    }

    #[test]
    fn an_option_of_another_rule_is_no_secret_by_its_name() {
        assert!(find(&["environment", "etc", "motd", "text"]).is_none());
        assert!(find_for("nix-key-in-place", &["environment", "etc", "motd", "text"]).is_some());
        assert!(find_file(&["environment", "etc", "motd", "source"]).is_none());
    }
}
