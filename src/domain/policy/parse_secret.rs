//! Parsing one secret of recipients.toml, and checking that secrets do not overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::domain::name::{SecretName, UnitName, UnixName};
use crate::domain::policy::generate::SIZES;
use crate::domain::policy::paths::{DELIVERED, DELIVERED_FOR_USERS, path_fault};
use crate::domain::policy::reader::{Reader, Text};
use crate::domain::policy::schema::RawSecret;
use crate::domain::policy::{Delivery, Mode, Policy, Secret};
use crate::domain::secret::shape::Shape;

impl Reader {
    pub(super) fn secret(&mut self, policy: &Policy, name: &SecretName, at: &Text, raw: RawSecret) -> Secret {
        let key = format!("secrets.{name}");
        let of = |field: &str| format!("{key}.{field}");
        let (selectors, hosts) = self.selectors(policy, &raw.hosts, &of("hosts"));
        if raw.per_host && hosts.iter().any(|host| name.file_of(host).as_str().len() > 128) {
            self.fault(&at.span, &key, "its name with a host's is longer than 128 bytes", "give it a shorter name");
        }
        let root = || "root".parse::<UnixName>().unwrap_or_else(|_| unreachable!("root is a user name"));
        let mut unix =
            |text: Option<Text>, field: &str| text.and_then(|text| self.word(&text, &of(field))).unwrap_or_else(root);
        let (owner, group) = (unix(raw.owner, "owner"), unix(raw.group, "group"));
        if raw.needed_for_users && (owner.as_str(), group.as_str()) != ("root", "root") {
            self.fault(
                &at.span,
                &key,
                "it is delivered before users exist, so that only root can own it",
                "take `owner` and `group` away, or `needed_for_users`",
            );
        }
        let mode = raw.mode.map_or(Some(Mode(0o400)), |text| {
            let mode = Mode::parse(&text.value);
            if mode.is_none() {
                self.fault(
                    &text.span,
                    &of("mode"),
                    "not a mode for a secret",
                    "four octal digits, readable by the owner, nothing for others: \"0400\", \"0440\", \"0600\"",
                );
            }
            mode
        });
        let shape = raw.shape.and_then(|text| self.word::<Shape>(&text, &of("shape"))).unwrap_or(Shape::Raw);
        let tree = if raw.needed_for_users { DELIVERED_FOR_USERS } else { DELIVERED };
        let path = match raw.path {
            None => format!("{tree}/{name}"),
            Some(text) => {
                if let Some(what) = path_fault(&text.value, &format!("{tree}/{name}")) {
                    self.fault(&text.span, &of("path"), what, "");
                }
                text.value
            }
        };
        let mut units = |texts: &[Text], field: &str| {
            texts.iter().filter_map(|text| self.word::<UnitName>(text, &of(field))).collect()
        };
        let (restart, reload) = (units(&raw.restart, "restart"), units(&raw.reload, "reload"));
        let generate = raw.generate.and_then(|at| {
            let mut generate = at.value;
            if generate.size().is_some_and(|(_, size)| !SIZES.contains(size)) {
                let sizes = format!("{} to {}", SIZES.start(), SIZES.end());
                self.fault(&at.span, &of("generate"), "the size is out of range", sizes);
                return None;
            }
            Some(generate)
        });
        Secret {
            hosts,
            selectors,
            per_host: raw.per_host,
            delivery: Delivery {
                owner,
                group,
                mode: mode.unwrap_or(Mode(0o400)),
                path,
                restart,
                reload,
                needed_for_users: raw.needed_for_users,
            },
            shape,
            generate,
            rotate_every: raw.rotate_every.and_then(|text| self.days(&text, &of("rotate_every"))),
            expires: raw.expires.and_then(|text| self.day(&text, &of("expires"))),
            allow_unsealed: raw.allow_unsealed,
            description: raw.description,
            line: self.lines.at(at.span.start),
        }
    }

    /// The name or path of a secret must not lie below that of another.
    pub(super) fn folders(&mut self, names: &[(SecretName, Range<usize>)], paths: &BTreeMap<String, String>) {
        let known: BTreeSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        for (inner, span) in names {
            let folders = inner.as_str().match_indices('/').filter_map(|(at, _)| inner.as_str().get(..at));
            if let Some(outer) = folders.into_iter().find(|folder| known.contains(folder)) {
                self.fault(
                    span,
                    &format!("secrets.{inner}"),
                    format!("its name lies in a folder of the secret {outer}"),
                    "give the newer one another name",
                );
            }
        }
        for (outer, owner) in paths {
            let below = format!("{outer}/");
            for (_, inner) in paths.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below)) {
                if let Some((_, span)) = names.iter().find(|(name, _)| name.as_str() == inner) {
                    self.fault(
                        &span.clone(),
                        &format!("secrets.{inner}"),
                        format!("its path lies below the path of {owner}"),
                        "",
                    );
                }
            }
        }
    }
}
