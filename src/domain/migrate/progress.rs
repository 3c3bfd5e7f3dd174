//! How far each machine has moved into the fleet, from facts: prepared, structure, deployed, verified, cleaned up. A
//! step that cannot be judged now is neither done nor open.

use serde::Serialize;

use crate::domain::deploy::diff::Outcome;
use crate::domain::doctor::machine::EtcNixos;

/// The steps, in their order.
pub const STEPS: [&str; 5] = ["prepared", "structure", "deployed", "verified", "cleaned up"];

/// Facts about a machine.
#[derive(Debug, Default)]
pub struct Facts {
    /// Whether it has a pinned key.
    pub pinned: bool,
    /// Files that it should read and that are not encrypted to it.
    pub unsealed: Vec<String>,
    /// Files of its configuration that do not exist, or that git does not track.
    pub missing: Vec<String>,
    /// What is running and how the last deploy ended, or why that is unknown.
    pub deployed: Option<Result<Deployed, String>>,
    /// What is wrong, or why it could not be checked.
    pub verified: Option<Result<Vec<String>, String>>,
    /// Files of the previous layout that are still in the repository.
    pub superseded: Vec<String>,
    /// What /etc/nixos is on the machine, if known.
    pub etc_nixos: Option<EtcNixos>,
}

/// What is running on a machine, and how the last deploy ended.
#[derive(Debug, Default)]
pub struct Deployed {
    pub running: Option<String>,
    /// The system of the last deploy, and its outcome.
    pub last: Option<(Option<String>, Outcome)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    pub step: &'static str,
    /// Whether it is done; `None` if unknown.
    pub done: Option<bool>,
    /// What remains to do, or why that is unknown.
    pub open: Vec<String>,
}

/// The status of all steps for a machine.
pub fn judge(facts: &Facts, host: &str) -> Vec<Mark> {
    let verified = judge_verified(facts);
    let steps = [judge_prepared(facts), (Some(facts.missing.is_empty()), facts.missing.clone()), judge_deployed(facts)];
    let cleaned = judge_cleaned(facts, host, verified.0);
    let all = steps.into_iter().chain([verified, cleaned]);
    STEPS.into_iter().zip(all).map(|(step, (done, open))| Mark { step, done, open }).collect()
}

/// Whether a machine runs what was deployed last and is healthy: then the previous files are no longer needed.
pub fn is_settled(marks: &[Mark]) -> bool {
    marks.iter().filter(|mark| ["deployed", "verified"].contains(&mark.step)).all(|mark| mark.done == Some(true))
}

type Judged = (Option<bool>, Vec<String>);

fn judge_prepared(facts: &Facts) -> Judged {
    let mut open = Vec::new();
    if !facts.pinned {
        open.push("it has no pinned SSH host key".to_owned());
    }
    match &facts.unsealed[..] {
        [] => {}
        [file] => open.push(format!("{file} is not sealed to it: `sealift rekey`")),
        files @ [one, ..] => {
            open.push(format!("{} files are not sealed to it, such as {one}: `sealift rekey`", files.len()));
        }
    }
    (Some(open.is_empty()), open)
}

fn judge_deployed(facts: &Facts) -> Judged {
    let deployed = match &facts.deployed {
        None => return (None, Vec::new()),
        Some(Err(why)) => return (None, vec![why.clone()]),
        Some(Ok(deployed)) => deployed,
    };
    match &deployed.last {
        Some((system, Outcome::Done | Outcome::PendingReboot)) if *system == deployed.running && system.is_some() => {
            (Some(true), Vec::new())
        }
        Some((_, Outcome::PendingReboot)) => {
            (Some(false), vec!["what was deployed runs after the next reboot".to_owned()])
        }
        Some((_, Outcome::Done)) => (Some(false), vec!["what runs is not what was deployed last".to_owned()]),
        Some((_, outcome)) => (Some(false), vec![format!("the last deploy ended as {}", outcome.as_str())]),
        None => (Some(false), vec!["nothing was ever deployed there".to_owned()]),
    }
}

fn judge_verified(facts: &Facts) -> Judged {
    match &facts.verified {
        None => (None, Vec::new()),
        Some(Err(why)) => (None, vec![why.clone()]),
        Some(Ok(wrong)) => (Some(wrong.is_empty()), wrong.clone()),
    }
}

fn judge_cleaned(facts: &Facts, host: &str, verified: Option<bool>) -> Judged {
    let mut open: Vec<String> =
        facts.superseded.iter().map(|path| format!("{path} is of the old layout: `sealift cleanup`")).collect();
    match &facts.etc_nixos {
        Some(EtcNixos::Loop(path)) => open.push(format!("{path} leads back to itself: `sealift doctor {host}`")),
        Some(EtcNixos::Directory { links }) => {
            open.extend(
                links
                    .iter()
                    .map(|(name, _)| format!("/etc/nixos/{name} is a link that does nothing: `sealift doctor {host}`")),
            );
        }
        Some(EtcNixos::Missing | EtcNixos::Link { .. }) | None => {}
    }
    match (open.is_empty(), verified, &facts.etc_nixos) {
        (false, ..) => (Some(false), open),
        (true, Some(true), Some(_)) => (Some(true), open),
        // Leftovers are only checked if everything else is fine.
        (true, ..) => (None, open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(facts: &Facts) -> Vec<Option<bool>> {
        judge(facts, "web").into_iter().map(|mark| mark.done).collect()
    }

    fn settled() -> Facts {
        let system = Some("/nix/store/x".to_owned());
        Facts {
            pinned: true,
            deployed: Some(Ok(Deployed { running: system.clone(), last: Some((system, Outcome::Done)) })),
            verified: Some(Ok(Vec::new())),
            etc_nixos: Some(EtcNixos::Missing),
            ..Facts::default()
        }
    }

    #[test]
    fn a_machine_that_is_done_is_done_in_all_steps() {
        assert_eq!(done(&settled()), [Some(true); 5]);
        assert!(is_settled(&judge(&settled(), "web")));
    }

    #[test]
    fn each_step_is_judged_by_its_own_facts() {
        let (yes, no) = (Some(true), Some(false));
        for (facts, expected) in [
            (Facts { pinned: false, ..settled() }, [no, yes, yes, yes, yes]),
            (Facts { unsealed: vec!["a".into()], ..settled() }, [no, yes, yes, yes, yes]),
            (Facts { missing: vec!["flake.nix".into()], ..settled() }, [yes, no, yes, yes, yes]),
            (
                Facts {
                    deployed: Some(Ok(Deployed { running: Some("/other".into()), last: Some((None, Outcome::Done)) })),
                    ..settled()
                },
                [yes, yes, no, yes, yes],
            ),
            (Facts { deployed: Some(Ok(Deployed::default())), ..settled() }, [yes, yes, no, yes, yes]),
            (
                Facts {
                    deployed: Some(Err("it is off".into())),
                    verified: Some(Err("it is off".into())),
                    etc_nixos: None,
                    ..settled()
                },
                [yes, yes, None, None, None],
            ),
            (Facts { verified: Some(Ok(vec!["check a".into()])), ..settled() }, [yes, yes, yes, no, None]),
            (Facts { superseded: vec!["old.nix".into()], ..settled() }, [yes, yes, yes, yes, no]),
            (
                Facts {
                    etc_nixos: Some(EtcNixos::Directory { links: vec![("web".into(), "/x".into())] }),
                    ..settled()
                },
                [yes, yes, yes, yes, no],
            ),
        ] {
            assert_eq!(done(&facts), expected, "{facts:?}");
        }
    }
}
