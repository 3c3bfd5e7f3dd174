//! The checks of hosts: the kinds of checks, and their names in recipients.toml. `adapters/host/probe.rs` runs them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::name::{Configuration, UnitName, UnixName};
use crate::domain::policy::reader::{At, Reader, Text};

/// What a check tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// This unit is active.
    Unit(UnitName),
    /// No unit is failed.
    NoFailedUnits,
    /// The host's name is its name in the policy.
    HostName,
    /// The same for a host with another name in the flake: its name may also be that one. Never in a policy, which has
    /// `HostName`.
    Called(Configuration),
    /// There is a default route.
    DefaultRoute,
    /// This path is a symlink into the Nix store.
    StoreLink(String),
    /// This path exists (a device, a socket).
    Exists(String),
    /// This program and its arguments exit 0.
    Command(Vec<String>),
    /// Likewise, with the command that the system itself declares for this check. Never in a policy: a host only runs
    /// as root what was deployed to it, not what is in a work tree.
    Deployed,
    /// This user's login shell starts.
    LoginShell(UnixName),
    /// A program is on the system's PATH, or on a user's.
    Program {
        name: String,
        /// The user; `None`: on the system's own PATH.
        user: Option<UnixName>,
    },
    /// There is a GPU that programs can use, with this driver; `None`: with any.
    Gpu(Option<String>),
    /// Something listens on this TCP port.
    Port(u16),
    /// A kind that a newer deployer knows and this program does not. The check fails, but the request is not refused:
    /// it may be the one that brings the newer program.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCheck {
    /// The hosts it is for; default all.
    pub(super) on: Option<Vec<Text>>,
    /// This unit is active.
    pub(super) unit: Option<Text>,
    /// No unit is failed.
    #[serde(default)]
    pub(super) no_failed_units: bool,
    /// The host's name is its name here, or its `configuration`.
    #[serde(default)]
    pub(super) host_name: bool,
    /// There is a default route.
    #[serde(default)]
    pub(super) default_route: bool,
    /// This path is a link into the Nix store.
    pub(super) store_link: Option<Text>,
    /// This path exists.
    pub(super) exists: Option<Text>,
    /// This program with its arguments exits 0.
    pub(super) command: Option<Vec<Text>>,
    /// This user's login shell starts.
    pub(super) login_shell: Option<Text>,
    /// This program is on the system's PATH, or, with `user`, on that user's.
    pub(super) program: Option<Text>,
    /// Whose PATH `program` is looked for on, besides the system's.
    pub(super) user: Option<Text>,
    /// There is a GPU under this kernel driver, such as "amdgpu"; "any": under whichever.
    pub(super) gpu: Option<Text>,
    /// Something listens on this TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<At<u32>>,
}

/// The names of all kinds.
fn kinds() -> Vec<String> {
    let schema = schemars::schema_for!(RawCheck).to_value();
    let fields = schema["properties"].as_object().into_iter().flatten().map(|(field, _)| field.clone());
    // These select hosts and users, and are not kinds.
    fields.filter(|field| !["on", "user"].contains(&field.as_str())).collect()
}

impl Reader {
    /// The one probe of a check.
    pub(super) fn probe(&mut self, key: &str, name: &Text, raw: RawCheck) -> Option<Probe> {
        let mut absolute = |text: Text, field: &str| {
            if !text.value.starts_with('/') {
                self.fault(&text.span, &format!("{key}.{field}"), "the path is not absolute", "");
            }
            text.value
        };
        let mut probes: Vec<Probe> = Vec::new();
        probes.extend(raw.store_link.map(|text| Probe::StoreLink(absolute(text, "store_link"))));
        probes.extend(raw.exists.map(|text| Probe::Exists(absolute(text, "exists"))));
        probes.extend(raw.unit.and_then(|text| self.word(&text, &format!("{key}.unit"))).map(Probe::Unit));
        probes.extend(
            raw.login_shell.and_then(|text| self.word(&text, &format!("{key}.login_shell"))).map(Probe::LoginShell),
        );
        probes.extend(raw.command.map(|words| Probe::Command(words.into_iter().map(|word| word.value).collect())));
        probes.extend(raw.no_failed_units.then_some(Probe::NoFailedUnits));
        probes.extend(raw.host_name.then_some(Probe::HostName));
        probes.extend(raw.default_route.then_some(Probe::DefaultRoute));
        let gpu = raw.gpu.and_then(|text| self.bare(&text, &format!("{key}.gpu")));
        probes.extend(gpu.map(|driver| Probe::Gpu((driver != "any").then_some(driver))));
        if let Some(number) = raw.port {
            match u16::try_from(number.value) {
                Ok(port) if port > 0 => probes.push(Probe::Port(port)),
                _ => {
                    self.fault(&number.span, &format!("{key}.port"), "a port is a number from 1 to 65535", "");
                    return None;
                }
            }
        }
        let user = raw.user.as_ref().and_then(|text| self.word(text, &format!("{key}.user")));
        if let (Some(text), None) = (&raw.user, &raw.program) {
            self.fault(&text.span, &format!("{key}.user"), "only `program` is looked for on a user's PATH", "");
        }
        let program = raw.program.and_then(|text| self.bare(&text, &format!("{key}.program")));
        probes.extend(program.map(|name| Probe::Program { name, user }));
        if probes.len() != 1 || probes == [Probe::Command(Vec::new())] {
            let help = format!("give one of: {}", kinds().join(", "));
            self.fault(&name.span, key, "a check looks at exactly one thing", help);
            return None;
        }
        probes.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_not_known_is_kept_and_the_others_are_read() {
        let probes: Vec<Probe> = serde_json::from_str(
            r#"[{"unit":"a.service"},"host-name",{"gpu":null},{"port":22},{"moon":{"full":1}},"tide"]"#,
        )
        .unwrap();
        let unknown = |text: &str| Probe::Unknown(serde_json::from_str(text).unwrap());
        let wanted = [
            Probe::Unit("a.service".parse().unwrap()),
            Probe::HostName,
            Probe::Gpu(None),
            Probe::Port(22),
            unknown(r#"{"moon":{"full":1}}"#),
            unknown("\"tide\""),
        ];
        assert_eq!(probes, wanted);
        let written = serde_json::to_string(&probes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Probe>>(&written).unwrap(), probes);
    }
}
