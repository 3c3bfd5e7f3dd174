//! The table of options, data/nixos-options.json, compared with what NixOS declares: with options.json if
//! `NIXPKGS_OPTIONS` names it, and with its modules if `NIXPKGS_MODULES` names a nixpkgs or some of its files. What
//! `adopt` writes for a row is evaluated, by the option's own module if that is available.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::harness::nix::{nixpkgs_lib, nixpkgs_modules, no_nix, quoted, top};
use crate::harness::{Sandbox, not_run};

/// The fields of a row that are needed here.
struct Row {
    option: Option<String>,
    file: Option<String>,
    list: bool,
    value: Option<String>,
    rule: Option<String>,
    since: Option<String>,
    module: String,
}

fn table() -> Vec<Row> {
    let text = std::fs::read(format!("{}/data/nixos-options.json", top())).expect("the table");
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&text).expect("JSON");
    let text = |row: &Map<String, Value>, key: &str| row.get(key).map(|text| text.as_str().expect("text").to_owned());
    rows.iter()
        .map(|row| Row {
            option: text(row, "option"),
            file: text(row, "file"),
            list: row.contains_key("list"),
            value: text(row, "value"),
            rule: text(row, "rule"),
            since: text(row, "since"),
            module: text(row, "module").expect("a module"),
        })
        .collect()
}

/// Whether an option with this description accepts the row's value.
fn takes(row: &Row, is_file: bool, described: &str) -> bool {
    let any = ["attribute set", "submodule", "value", "anything", "systemd option"];
    let holds = |words: &[&str]| words.iter().any(|word| described.contains(word));
    let is_list = described.starts_with("list of");
    if holds(&any) && !described.contains("path") {
        true
    } else if is_file {
        row.list == (is_list && row.value.is_none()) && holds(&["path", "string"])
    } else {
        holds(&["string", "path"])
    }
}

/// How one place of a row differs from NixOS.
fn fault(row: &Row, is_file: bool, place: &str, described: Option<&str>) -> Option<String> {
    match described {
        None => Some(format!("{place}: NixOS has no such option (moved? {})", row.module)),
        Some(described) if !takes(row, is_file, described) => Some(format!("{place}: it is of the type {described}")),
        Some(_) => None,
    }
}

/// Whether an option may be newer than this nixpkgs. A partial nixpkgs has no release.
fn may_lack(row: &Row, nixpkgs: &Path) -> bool {
    let release = std::fs::read_to_string(nixpkgs.join(".version")).unwrap_or_default();
    row.since.as_deref().is_none_or(|since| since > release.trim())
}

/// Each place of a row, and whether it takes a path.
fn places(row: &Row) -> impl Iterator<Item = (bool, &str)> {
    row.option.iter().map(|option| (false, option.as_str())).chain(row.file.iter().map(|file| (true, file.as_str())))
}

#[test]
fn every_row_is_an_option_that_nixos_declares() {
    const TEST: &str = "the table of options against options.json of a NixOS";
    let Some(path) = std::env::var_os("NIXPKGS_OPTIONS").filter(|path| !path.is_empty()) else {
        return not_run(TEST, "NIXPKGS_OPTIONS does not name options.json of a NixOS");
    };
    let declared: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("options.json");
    let declared: BTreeMap<String, &str> = declared
        .iter()
        .map(|(name, option)| (name.replace("<name>", "*"), option["type"].as_str().unwrap_or_default()))
        .collect();
    // The option itself, or the enclosing attribute set with free names.
    let described = |place: &str| {
        let mut name = place;
        loop {
            if let Some(found) = declared.get(name) {
                let is_open =
                    ["attribute set", "submodule", "value", "anything"].iter().any(|word| found.contains(word));
                return (name == place || is_open).then_some(*found);
            }
            name = name.rsplit_once('.')?.0;
        }
    };
    let rows = table();
    let faults: Vec<String> = rows
        .iter()
        .flat_map(|row| places(row).filter_map(|(is_file, place)| fault(row, is_file, place, described(place))))
        .collect();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

#[test]
fn every_row_is_as_its_module_declares_it() {
    const TEST: &str = "the table of options against the modules of a nixpkgs";
    if no_nix(TEST) {
        return;
    }
    let (Some(nixpkgs), Some(lib)) = (nixpkgs_modules(TEST), nixpkgs_lib(TEST)) else { return };
    let rows = table();
    let there: Vec<&Row> = rows.iter().filter(|row| nixpkgs.join("nixos/modules").join(&row.module).exists()).collect();
    if there.is_empty() {
        return not_run(TEST, "NIXPKGS_MODULES has no module of the table");
    }
    let mut asked: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in &there {
        asked.entry(&row.module).or_default().extend(places(row).map(|(_, place)| place));
    }
    let sandbox = Sandbox::new();
    let asked = serde_json::to_string(&asked).expect("JSON");
    let declared = sandbox.nix_value(&format!(
        "(import {top}/tests/fixtures/nix/declared.nix {{ libPath = {}; nixpkgs = {}; }}).types (builtins.fromJSON ''{asked}'')",
        quoted(lib),
        quoted(&nixpkgs),
        top = top(),
    ));
    let faults: Vec<String> = there
        .iter()
        .flat_map(|row| {
            let declared = &declared[&row.module];
            let may_lack = may_lack(row, &nixpkgs);
            places(row).filter_map(move |(is_file, place)| {
                let described = declared[place]["description"].as_str();
                fault(row, is_file, place, described).filter(|_| described.is_some() || !may_lack)
            })
        })
        .collect();
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), there.len(), faults.join("\n"));
}

/// A path with words in place of its stars; for a star at the end a variable name.
fn filled(place: &str, last_is_a_variable: bool) -> Vec<String> {
    let words: Vec<&str> = place.split('.').collect();
    words
        .iter()
        .enumerate()
        .map(|(at, word)| match *word {
            "*" if at + 1 == words.len() && last_is_a_variable => "API_TOKEN".to_owned(),
            "*" => "id_ed25519".to_owned(),
            word => word.to_owned(),
        })
        .collect()
}

#[test]
fn what_adopt_writes_for_each_row_is_what_nix_reads() {
    const TEST: &str = "what adopt writes for each row of the table";
    if no_nix(TEST) {
        return;
    }
    let sandbox = Sandbox::with_fleet(&["nixos"]);
    let value = sandbox.value("v");
    let rows = table();
    let moved: Vec<(usize, &Row)> =
        rows.iter().enumerate().filter(|(_, row)| row.option.is_some() && row.file.is_some()).collect();
    let mut written = Vec::new();
    for (at, row) in &moved {
        let option = filled(row.option.as_deref().expect("an option"), true);
        let file = format!("hosts/nixos/{at}.nix");
        // Nested as people write it: a set for each of the first two words, the rest as a path.
        let (outer, inner) = option.split_at(2);
        let inner = inner.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(".");
        let text = format!(
            "{{ config, ... }}:\n{{\n  {}.{} = {{\n    {inner} = \"{value}\";\n  }};\n}}\n",
            outer[0], outer[1]
        );
        sandbox.write(&file, text);
        let run = sandbox.sealift(&["adopt", &format!("{file}:4"), "--name", &format!("v{at}"), "--yes"]);
        assert_eq!(run.code, 0, "{}: {}", option.join("."), run.stderr);
        written.push((file, *row, option));
    }
    // Evaluates each file with Nix: the value is gone, and the option has the path.
    let mut expression = String::from("[\n");
    for (file, _, _) in &written {
        let name = format!("v{}", file.trim_start_matches("hosts/nixos/").trim_end_matches(".nix"));
        expression
            .push_str(&format!("(import ./{file} {{ config.sealift.secrets.{name}.path = \"/run/sealift/x\"; }})\n"));
    }
    expression.push(']');
    let modules = sandbox.nix_value(&expression);
    for ((_, row, option), module) in written.iter().zip(modules.as_array().expect("a list")) {
        let pointer = |words: &[String]| format!("/{}", words.join("/"));
        let file = filled(row.file.as_deref().expect("a file"), false);
        let path = "/run/sealift/x";
        let path = row.value.as_ref().map_or(path.to_owned(), |value| value.replace('%', path));
        let wanted = if row.list { serde_json::json!([path]) } else { Value::from(path) };
        assert_eq!(module.pointer(&pointer(&file)), Some(&wanted), "{}: {module}", option.join("."));
        assert!(file == *option || module.pointer(&pointer(option)).is_none(), "{}: {module}", option.join("."));
    }
    by_their_modules(&sandbox, &written);
}

/// Evaluates them with the modules that are available.
fn by_their_modules(sandbox: &Sandbox, written: &[(String, &Row, Vec<String>)]) {
    const TEST: &str = "what adopt writes, by the modules of a nixpkgs";
    let (Some(nixpkgs), Some(lib)) = (nixpkgs_modules(TEST), nixpkgs_lib(TEST)) else { return };
    let there: Vec<_> = written
        .iter()
        .filter(|(_, row, _)| row.rule.is_none() && nixpkgs.join("nixos/modules").join(&row.module).exists())
        .collect();
    let mut expression = format!(
        "let declared = import {top}/tests/fixtures/nix/declared.nix {{ libPath = {}; nixpkgs = {}; }}; in [\n",
        quoted(lib),
        quoted(&nixpkgs),
        top = top(),
    );
    for (file, row, _) in &there {
        let name = format!("v{}", file.trim_start_matches("hosts/nixos/").trim_end_matches(".nix"));
        let words = filled(row.file.as_deref().expect("a file"), false);
        let words = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ");
        expression.push_str(&format!(
            "(declared.defined [ \"{}\" ] (import ./{file} {{ config.sealift.secrets.{name}.path = \"/run/sealift/x\"; }}) [ {words} ])\n",
            row.module
        ));
    }
    expression.push(']');
    let values = sandbox.nix_value(&expression);
    for ((_, row, option), value) in there.iter().zip(values.as_array().expect("a list")) {
        let text = value.to_string();
        if value.is_null() && may_lack(row, &nixpkgs) {
            continue;
        }
        assert!(text.contains("/run/sealift/x"), "{} of {}: {text}", option.join("."), row.module);
    }
}
