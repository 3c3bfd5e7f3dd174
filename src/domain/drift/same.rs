//! Groups files or hosts with the same message, so that it is printed once with all their names.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::domain::counted::counted;
use crate::domain::drift::access::listed;
use crate::domain::drift::audit::{AuditFinding, AuditRule, extra_reader, missing_reader};
use crate::domain::drift::lacking::{self, Lacking};
use crate::domain::level::Level;
use crate::domain::name::{FileName, HostName};

/// The distinct messages in order of first occurrence, each with its files.
pub fn grouped<F, T: Ord>(rows: impl IntoIterator<Item = (F, T)>) -> Vec<(T, Vec<F>)> {
    let mut groups: BTreeMap<T, (usize, Vec<F>)> = BTreeMap::new();
    for (order, (file, said)) in rows.into_iter().enumerate() {
        groups.entry(said).or_insert_with(|| (order, Vec::new())).1.push(file);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (order, _))| *order);
    groups.into_iter().map(|(said, (_, files))| (said, files)).collect()
}

/// The names of several files, and their number. None is left out, because the reader has to decide about each.
pub fn names(files: &[impl Display]) -> String {
    let all = files.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{all} ({})", counted(files.len(), "file"))
}

/// The names of several hosts, and how many they are.
pub fn hosts(hosts: &[&HostName]) -> String {
    let all = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{all} ({})", counted(hosts.len(), "host"))
}

/// A finding as shown: for one file, or for all files with the same finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub level: Level,
    pub what: String,
    pub help: String,
}

/// Merges equal findings about readers, exposed values and missing values into one for all their files.
pub fn shown(findings: &[AuditFinding]) -> Vec<Shown> {
    let said = |finding: &&AuditFinding| {
        // A finding that applies to a single file only is not merged.
        let alone = together(finding, &[finding]).is_none().then(|| finding.about.clone());
        let how = finding.lacking.as_ref().map(|lacking| lacking.how);
        (finding.level, finding.rule, finding.what.clone(), how, alone)
    };
    let groups = grouped(findings.iter().map(|finding| (finding, said(&finding))));
    let shown = groups.into_iter().flat_map(|(_, same)| match &same[..] {
        [first, _, ..] => {
            let together = together(first, &same).map(|(what, help)| Shown { level: first.level, what, help });
            together.map_or_else(|| same.iter().map(|finding| alone(finding)).collect(), |one| vec![one])
        }
        _ => same.into_iter().map(alone).collect(),
    });
    shown.collect()
}

fn alone(finding: &AuditFinding) -> Shown {
    let AuditFinding { level, about, what, help, .. } = finding;
    Shown { level: *level, what: format!("{about}: {what}"), help: help.clone() }
}

fn file(finding: &AuditFinding) -> Option<FileName> {
    finding.about.strip_prefix("secrets/").and_then(FileName::from_path)
}

/// The merged message and help for several files with the same finding; `None` for findings that are not merged.
fn together(finding: &AuditFinding, same: &[&AuditFinding]) -> Option<(String, String)> {
    file(finding)?;
    let AuditFinding { rule, what, help, access, gone, .. } = finding;
    let names = names(&same.iter().filter_map(|finding| file(finding)).collect::<Vec<_>>());
    let new_values = || {
        let known: String =
            gone.iter().map(|who| format!("`sealift rotate --exposed-to {who}`")).collect::<Vec<_>>().join(", ");
        if known.is_empty() {
            "give each a new value: `sealift rotate NAME`".to_owned()
        } else {
            format!("give them new values: {known}")
        }
    };
    Some(match rule {
        AuditRule::ExtraReader if *what == extra_reader(&access.loses) => {
            (format!("{} can read and should not: {names}", listed(&access.loses)), help.clone())
        }
        AuditRule::MissingReader if *what == missing_reader(&access.gains) => {
            (format!("{} should read and cannot: {names}", listed(&access.gains)), help.clone())
        }
        AuditRule::Unsealed => (
            format!(
                "no seal: another tool wrote them, or it was stripped; if they are adopted, {}: {names}",
                access.told()
            ),
            "find out where they come from; if that is intended: `sealift rekey --adopt NAME`".to_owned(),
        ),
        AuditRule::KnownToRetired | AuditRule::KnownToFormer => {
            (format!("{}: {names}", what.replace("this value", "these values")), new_values())
        }
        AuditRule::Missing => {
            let lacking: Vec<&Lacking> = same.iter().filter_map(|finding| finding.lacking.as_ref()).collect();
            let how = lacking.first()?.how;
            (
                format!("the policy asks for these and they are not there: {}", lacking::names(&lacking)),
                how.help().to_owned(),
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_where_it_first_comes() {
        let rows = [("a", "+web"), ("b", "-db"), ("c", "+web")];
        assert_eq!(grouped(rows), [("+web", vec!["a", "c"]), ("-db", vec!["b"])]);
        assert_eq!(names(&["a", "c"]), "a, c (2 files)");
    }
}
