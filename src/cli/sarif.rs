//! Findings of `scan` as SARIF 2.1.0, which code hosts accept. Contains no values and no digests of values. Written as
//! plain JSON: the types of a SARIF crate would need more code than this.

use serde_json::{Value, json};

use crate::commands::scan::Report;
use crate::domain::foreign::in_url;
use crate::domain::scan::{Finding, Place, Weight, rules};

/// Converts a report to SARIF.
pub fn report(report: &Report) -> Value {
    let used: Vec<_> = rules::every().collect();
    let place = |id: &str| used.iter().position(|rule| rule.id == id);
    let described: Vec<Value> = used
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.what },
                "fullDescription": { "text": rule.why },
                "help": { "text": rule.help },
                "defaultConfiguration": { "level": level(rule.weight) },
            })
        })
        .collect();
    let results: Vec<Value> = report.findings.iter().map(|finding| result(finding, place(finding.rule))).collect();
    let notes: Vec<Value> = report
        .not_looked_at
        .iter()
        .map(|blind| json!({ "level": "error", "message": { "text": format!("not read: {}: {}", blind.path, blind.why) } }))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": env!("CARGO_PKG_NAME"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": described,
            } },
            "columnKind": "utf16CodeUnits",
            "invocations": [{ "executionSuccessful": report.not_looked_at.is_empty(), "toolExecutionNotifications": notes }],
            "results": results,
        }],
    })
}

fn level(weight: Weight) -> &'static str {
    match weight {
        Weight::Severe | Weight::High => "error",
        Weight::Medium => "warning",
    }
}

fn result(finding: &Finding, rule: Option<usize>) -> Value {
    let commit = match &finding.place {
        Place::History { commit } => Some(commit),
        _ => None,
    };
    let at = commit.map_or_else(String::new, |commit| format!(" in commit {commit}"));
    json!({
        "ruleId": finding.rule,
        "ruleIndex": rule,
        "level": level(finding.weight),
        "message": { "text": format!("{}{at}: {}. {}", finding.what, finding.why, finding.help) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": in_url(&finding.path), "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": finding.line },
        } }],
        // Identifies a finding across runs by its place, never by its content.
        "partialFingerprints": { "place/v1": format!("{}:{}:{}", finding.rule, finding.path, finding.line) },
    })
}
