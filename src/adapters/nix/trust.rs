//! Which users nix on a machine allows and trusts, according to its configuration.

use crate::adapters::host::accounts::LocalUser;
use crate::adapters::process::Invocation;
use crate::domain::deploy::host_facts::Trust;
use crate::error::Error;

/// The error for a host whose nix accepts nothing unsigned from the login user. nix itself would only report it after
/// the whole build.
pub fn untrusted(host: &str, user: &str) -> Error {
    Error::failed(format!("nix on {host} does not trust {user}: it takes only signed paths")).help(format!(
        "one of: `nix.settings.trusted-users = [ \"{user}\" ]` there; `sign_key` in [deploy] of recipients.toml, with its public half in `nix.settings.trusted-public-keys` there; `--build-on-target`"
    ))
}

/// The error for a host whose nix daemon does not allow the login user at all.
pub fn barred(host: &str, user: &str) -> Error {
    Error::failed(format!("nix on {host} does not let {user} in: `allowed-users` there names others"))
        .help(format!("`nix.settings.allowed-users = [ \"{user}\" ]` there, or log in as a user that it names"))
}

/// The command that prints nix's configuration, without the user's own, which the daemon does not read.
pub const ASKS: [&str; 7] = [
    "env",
    "NIX_USER_CONF_FILES=/dev/null",
    "nix",
    "--extra-experimental-features",
    "nix-command flakes",
    "show-config",
    "--json",
];

/// Whether nix on this machine trusts the caller, and which keys it trusts. If its configuration cannot be read,
/// nothing.
pub fn trust(caller: &LocalUser) -> Trust {
    let [program, arguments @ ..] = ASKS;
    match Invocation::new(program).args(arguments).without_env("NIX_CONFIG").read() {
        Ok(json) => trust_of(&json, caller),
        Err(error) => Trust { unknown: Some(error.in_one_line()), ..Trust::default() },
    }
}

/// Like `trust`, from nix's answer.
pub fn trust_of(json: &[u8], caller: &LocalUser) -> Trust {
    let config: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let words = |name: &str| -> Vec<String> {
        let values = config[name]["value"].as_array().map_or(&[][..], Vec::as_slice);
        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let names_us = |word: &String| match word.strip_prefix('@') {
        Some(group) => caller.groups.iter().any(|ours| ours == group),
        None => word == "*" || *word == caller.user,
    };
    let trusted = words("trusted-users").iter().any(names_us);
    // Trusted users are always allowed.
    let barred = config["allowed-users"].is_object() && !trusted && !words("allowed-users").iter().any(names_us);
    let unsigned = config["require-sigs"]["value"].as_bool() == Some(false);
    Trust { user: unsigned || trusted, keys: words("trusted-public-keys"), barred, unknown: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in_and_who_is_trusted() {
        let caller = LocalUser { user: "jay".into(), groups: vec!["wheel".into()] };
        for (allowed, trusted, told) in [
            ("*", "root", (true, false)),
            ("@wheel", "root", (true, false)),
            ("ana", "root", (false, false)),
            ("ana", "@wheel", (true, true)),
            ("ana", "*", (true, true)),
        ] {
            let json = format!(
                r#"{{"allowed-users":{{"value":["{allowed}"]}},"trusted-users":{{"value":["root","{trusted}"]}}}}"#
            );
            let trust = trust_of(json.as_bytes(), &caller);
            assert_eq!((!trust.barred, trust.user), told, "{allowed} {trusted}");
        }
        assert!(!trust_of(b"", &caller).barred, "what is not known is not held against anybody");
    }
}
