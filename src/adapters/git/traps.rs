//! The keys of git's configuration that name a program, or make git start one, and what sets each off. A repository brings
//! a configuration of its own, and so does anyone who can write to it.
//!
//! The table follows `git help --config` and gitattributes(5); tests/traps.rs holds it against the git that is installed.
//! `include.path` and its kin are not in it: what a file that they name says is listed and set off like all else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::adapters::process::Invocation;

/// Keys, and the value that sets each off. A star stands for a name that the configuration chooses: such keys are set off
/// where they are there.
pub const TRAPS: [(&str, &str); 76] = [
    ("alias.*", ""),
    ("browser.*.cmd", ""),
    ("browser.*.path", ""),
    ("commit.gpgSign", "false"),
    ("core.alternateRefsCommand", ""),
    ("core.askPass", ""),
    ("core.editor", ":"),
    ("core.fsmonitor", "false"),
    ("core.gitProxy", "none"),
    ("core.hooksPath", "/dev/null"),
    ("core.pager", "cat"),
    ("core.sshCommand", "false"),
    ("credential.helper", ""),
    ("credential.*.helper", ""),
    ("diff.external", ""),
    ("diff.guitool", ""),
    ("diff.tool", ""),
    ("diff.*.command", ""),
    ("diff.*.textconv", ""),
    ("difftool.*.cmd", ""),
    ("difftool.*.path", ""),
    ("filter.*.clean", ""),
    ("filter.*.process", ""),
    ("filter.*.required", "false"),
    ("filter.*.smudge", ""),
    ("gc.auto", "0"),
    ("gc.recentObjectsHook", ""),
    ("gpg.program", ""),
    ("gpg.*.program", ""),
    ("gpg.ssh.defaultKeyCommand", ""),
    ("guitool.*.cmd", ""),
    ("help.browser", ""),
    ("hook.*.command", ""),
    ("imap.tunnel", ""),
    ("instaweb.browser", ""),
    ("instaweb.httpd", ""),
    ("interactive.diffFilter", ""),
    ("log.showSignature", "false"),
    ("maintenance.auto", "false"),
    ("man.viewer", ""),
    ("man.*.cmd", ""),
    ("man.*.path", ""),
    ("merge.guitool", ""),
    ("merge.tool", ""),
    ("merge.verifySignatures", "false"),
    ("merge.*.driver", ""),
    ("mergetool.*.cmd", ""),
    ("mergetool.*.path", ""),
    ("pager.*", "false"),
    ("protocol.allow", "never"),
    ("protocol.*.allow", "never"),
    ("push.gpgSign", "false"),
    ("receive.procReceiveRefs", ""),
    ("remote.*.receivepack", ""),
    ("remote.*.uploadpack", ""),
    ("remote.*.vcs", ""),
    ("sendemail.ccCmd", ""),
    ("sendemail.headerCmd", ""),
    ("sendemail.sendmailCmd", ""),
    ("sendemail.smtpServer", ""),
    ("sendemail.toCmd", ""),
    ("sendemail.*.ccCmd", ""),
    ("sendemail.*.headerCmd", ""),
    ("sendemail.*.sendmailCmd", ""),
    ("sendemail.*.smtpServer", ""),
    ("sendemail.*.toCmd", ""),
    ("sequence.editor", ":"),
    ("submodule.recurse", "false"),
    ("submodule.*.update", "none"),
    ("tag.forceSignAnnotated", "false"),
    ("tag.gpgSign", "false"),
    ("tar.*.command", ""),
    ("trailer.*.cmd", ""),
    ("trailer.*.command", ""),
    ("uploadpack.packObjectsHook", ""),
    ("web.browser", ""),
];

/// A call of git for which every key of a fixed name is set off, and all that is no configuration: it fetches nothing, and
/// knows no way to another repository.
pub fn set_off(git: Invocation) -> Invocation {
    let fixed = TRAPS.iter().filter(|(key, _)| !key.contains('*'));
    fixed
        .fold(git, |git, (key, off)| git.arg("-c").arg(format!("{key}={off}")))
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_NO_LAZY_FETCH", "1")
}

/// The keys, as `git config --list --name-only -z` prints them, that are there under a name of their own and are traps,
/// with what sets each off.
pub fn among(listed: &[u8]) -> Vec<(OsString, &'static str)> {
    let trap = |key: &[u8]| {
        let (_, off) = TRAPS.iter().find(|(pattern, _)| matches(pattern, key))?;
        Some((OsString::from_vec(key.to_vec()), *off))
    };
    let mut found: Vec<_> = listed.split(|byte| *byte == 0).filter_map(trap).collect();
    found.sort();
    found.dedup();
    found
}

/// The same call with these keys set off too.
pub fn set_off_named(git: Invocation, named: &[(OsString, &'static str)]) -> Invocation {
    named.iter().fold(git, |git, (key, off)| {
        // Not by `-c`: a name may hold an equals sign. The value comes from a variable, of which there is one for each.
        let variable = format!("SEALIFT_OFF_{off}");
        let mut option = OsString::from("--config-env=");
        option.push(key);
        option.push(format!("={variable}"));
        git.arg(option).env(variable, off)
    })
}

/// Whether a key is one of a pattern with a star. git prints the first and the last word of a key in lower case.
fn matches(pattern: &str, key: &[u8]) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return false };
    let fits = |part: &[u8], with: &str| part.eq_ignore_ascii_case(with.as_bytes());
    key.len() > head.len() + tail.len() && fits(&key[..head.len()], head) && fits(&key[key.len() - tail.len()..], tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_first_and_last_word() {
        let listed =
            b"core.bare\0filter.a=b.c.clean\0FILTER.x.Smudge\0filter.x.smudge\0alias.s\0diff.x.binary\0filter.clean\0";
        let found: Vec<_> = among(listed).into_iter().map(|(key, _)| key.into_string().unwrap()).collect();
        assert_eq!(found, ["FILTER.x.Smudge", "alias.s", "filter.a=b.c.clean", "filter.x.smudge"]);
        assert!(!matches("core.fsmonitor", b"core.fsmonitor"));
    }
}
