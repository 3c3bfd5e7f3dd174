//! Every help page and the schema, as printed; and the suggestions for a mistyped word.

use std::collections::BTreeSet;

use super::{folder, is_as_in};
use crate::harness::Sandbox;

/// The verbs listed on a page.
fn verbs(page: &str) -> Vec<&str> {
    let lines = page.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Continuation lines are indented further.
    let first = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    first.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect()
}

/// The short page, which always includes the examples.
fn short(sandbox: &Sandbox, words: &[&str]) -> String {
    let page = sandbox.sealift(&[words, &["-h"]].concat()).exits(0).text();
    assert!(page.contains("Examples:"), "{words:?}: {page}");
    page
}

#[test]
fn every_page_is_as_in_its_file() {
    let sandbox = Sandbox::new();
    let mut files = BTreeSet::new();
    let mut rest = vec![Vec::<String>::new()];
    while let Some(path) = rest.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let page = sandbox.sealift(&[words.as_slice(), &["--help"]].concat()).exits(0).text();
        assert_eq!(sandbox.sealift(&[&["help"], words.as_slice()].concat()).exits(0).text(), page, "{words:?}");
        assert_eq!(sandbox.sealift(&[words.as_slice(), &["-qh"]].concat()).exits(0).text(), short(&sandbox, &words));
        assert!(page.lines().all(|line| line.chars().count() <= 100), "{words:?} is wider than 100 columns");
        let name = [&["sealift"], words.as_slice()].concat().join("-") + ".txt";
        is_as_in(&folder("tests/help").join(&name), &page);
        files.insert(name);
        rest.extend(verbs(&page).into_iter().map(|verb| [path.clone(), vec![verb.to_owned()]].concat()));
    }
    assert!(files.len() > 30 && files.contains("sealift-host-add.txt"), "{files:?}");
    let there = std::fs::read_dir(folder("tests/help")).expect("a folder");
    let there = there.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    assert_eq!(there.collect::<BTreeSet<_>>(), files, "a file of a page that is no more");
}

#[test]
fn the_schema_is_what_the_program_prints() {
    let printed = Sandbox::new().sealift(&["schema"]).exits(0).text();
    is_as_in(&folder("docs/recipients.schema.json"), &printed);
}

#[test]
fn what_is_not_for_people_is_not_shown() {
    let sandbox = Sandbox::new();
    let page = sandbox.sealift(&["--help"]).exits(0).text();
    for hidden in ["host-run", "edit-helper"] {
        assert!(!page.contains(hidden));
        sandbox.sealift(&[hidden, "--help"]).exits(0);
    }
    let near = sandbox.sealift(&["hots"]).exits(2).says("'host'").stderr;
    assert!(!near.contains("host-run"), "{near}");
    // Even if it were the only close match, it would not be suggested.
    assert!(!sandbox.sealift(&["edit-helpr"]).exits(2).stderr.contains("helper"));
}

#[test]
fn a_typo_is_shown_and_what_it_is_like() {
    let sandbox = Sandbox::with_fleet(&["web@runner"]);
    sandbox.seal("db-password", &["--hosts", "web"]);
    for (words, word, near) in [
        (&["deplyo"][..], "'deplyo'", "'deploy'"),
        (&["identity", "improt"], "'improt'", "'import'"),
        (&["deploy", "--al"], "'--al'", "'--all'"),
        (&["deploy", "--action", "swich"], "'swich'", "'switch'"),
        (&["deploy", "wbe"], "wbe", "did you mean web?"),
        (&["deploy", "@runer"], "@runer", "did you mean @runner?"),
        (&["rollback", "wbe"], "wbe", "did you mean web?"),
        (&["generations", "wbe"], "wbe", "did you mean web?"),
        (&["host", "rm", "wbe"], "wbe", "did you mean web?"),
        (&["host", "provision", "wbe", "--root", "/mnt"], "wbe", "did you mean web?"),
        (&["who", "--host", "wbe"], "wbe", "did you mean web?"),
        (&["rotate", "--exposed-to", "wbe"], "wbe", "did you mean web?"),
        (&["manifest", "wbe"], "wbe", "did you mean web?"),
        (&["verify", "wbe"], "wbe", "did you mean web?"),
        (&["seal", "new", "--generate", "hex", "--hosts", "@runer"], "@runer", "did you mean @runner?"),
        (&["host", "rekey", "wbe", "--key-file", "nowhere.pub"], "wbe", "did you mean web?"),
        (&["edit", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["show", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["who", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["rekey", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["rekey", "--adopt", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["rotate", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["rm", "db-pasword"], "db-pasword", "did you mean db-password?"),
        (&["mv", "db-pasword", "x"], "db-pasword", "did you mean db-password?"),
        (&["identity", "forget", "--admin", "jya"], "jya", "did you mean jay?"),
        (&["rekey", "--yes", "--remove", "wbe"], "wbe", "did you mean web?"),
    ] {
        let run = sandbox.sealift(words);
        assert!(run.code == 2 && run.stderr.contains(word) && run.stderr.contains(near), "{words:?}: {}", run.stderr);
    }
}

#[test]
fn what_could_be_a_pasted_value_is_not_shown() {
    let sandbox = Sandbox::with_fleet(&["web"]);
    for words in [
        &["Hunter2Hunter2"][..],
        &["seal", "a", "hunter"],
        &["seal", "a", "--generate", "passw0rd"],
        &["deploy", "--action", "correct-horse"],
        &["show", "Hunter2"],
    ] {
        let run = sandbox.sealift(words).exits(2);
        let last = words.last().expect("a word");
        assert!(!run.stderr.contains(last), "{words:?}: {}", run.stderr);
    }
}
