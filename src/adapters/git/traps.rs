//! The git configuration keys that name a program or make git start one, and the value that disables each. A repository
//! brings its own configuration, and so does anyone who can write to it.
//!
//! The table follows `git help --config` and gitattributes(5); tests/traps.rs compares it with the installed git. It
//! does not contain `include.path` and the like: keys in included files are listed and disabled like all others.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::adapters::process::Invocation;

/// Keys with the value that disables each. A star stands for a name chosen by the configuration: such keys are disabled
/// where they occur.
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

/// A git call with every key of a fixed name disabled, and the same for what is not configuration: it fetches nothing
/// and allows no transport.
pub fn set_off(git: Invocation) -> Invocation {
    let fixed = TRAPS.iter().filter(|(key, _)| !key.contains('*'));
    fixed
        .fold(git, |git, (key, off)| git.arg("-c").arg(format!("{key}={off}")))
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_NO_LAZY_FETCH", "1")
}

/// The keys in the output of `git config --list --name-only -z` that match a pattern with a star, with the value that
/// disables each.
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

/// The same call with these keys disabled too.
pub fn set_off_named(git: Invocation, named: &[(OsString, &'static str)]) -> Invocation {
    named.iter().fold(git, |git, (key, off)| {
        // Not with `-c`: a key may contain an equals sign. The value comes from an environment variable, one per value.
        let variable = format!("SEALIFT_OFF_{off}");
        let mut option = OsString::from("--config-env=");
        option.push(key);
        option.push(format!("={variable}"));
        git.arg(option).env(variable, off)
    })
}

/// Whether a key matches a pattern with a star. git prints the first and last part of a key in lower case.
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
