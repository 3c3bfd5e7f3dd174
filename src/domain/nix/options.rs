//! The options of NixOS modules that take a secret inline, each with the option that takes it from a file instead. A new
//! module is a new row. What is given inline is in the Nix store of every machine that builds it, for all to read.

/// How the same secret is given as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// An option beside it, with text before and after the path; mostly none.
    Beside(&'static str, &'static str, &'static str),
    /// An option somewhere else, or several steps: told to the person, not done.
    Elsewhere(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its path; `*` is any one word. What stands before it (`config`, a container, a list of modules) may be anything.
    pub option: &'static str,
    /// What takes the secret from a file.
    pub twin: Twin,
    /// The shape that the file must have.
    pub shape: &'static str,
    /// Who reads the file.
    pub owner: &'static str,
    /// The unit that reads it when it starts; `{}` is the last word that a `*` stands for. Empty: none.
    pub unit: &'static str,
    /// Whether it is read before users are made.
    pub for_users: bool,
    /// What a person must know besides.
    pub note: &'static str,
}

impl Inline {
    const fn owner(mut self, owner: &'static str) -> Self {
        self.owner = owner;
        self
    }
    const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }
    const fn shape(mut self, shape: &'static str) -> Self {
        self.shape = shape;
        self
    }
    const fn for_users(mut self) -> Self {
        self.for_users = true;
        self
    }
    const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// Whether its value is the hash of a password, which can be guessed from, and not the password.
    pub fn is_hash(&self) -> bool {
        self.option.rsplit('.').next().is_some_and(|word| word.to_ascii_lowercase().contains("hashed"))
    }
}

/// An option whose twin stands beside it.
const fn beside(option: &'static str, twin: &'static str) -> Inline {
    wrapped(option, twin, "", "")
}

/// One whose twin wants more than the path.
const fn wrapped(option: &'static str, twin: &'static str, before: &'static str, after: &'static str) -> Inline {
    let twin = Twin::Beside(twin, before, after);
    Inline { option, twin, shape: "token", owner: "root", unit: "", for_users: false, note: "" }
}

/// One whose twin is somewhere else.
const fn elsewhere(option: &'static str, how: &'static str) -> Inline {
    let twin = Twin::Elsewhere(how);
    Inline { option, twin, shape: "raw", owner: "root", unit: "", for_users: false, note: "" }
}

const HASH_IT: &str =
    "make a hash with `mkpasswd`, seal that with `--needed-for-users`, and give its path to hashedPasswordFile";
const RUNNER: &str = "the token only registers the runner: a new one matters when the runner registers again";
const PROMTOOL: &str =
    "`promtool` reads the file while the system is built: set services.prometheus.checkConfig = \"syntax-only\"";

/// The options.
pub const INLINE: &[Inline] = &[
    // Forges and their runners.
    beside("services.gitea-actions-runner.instances.*.token", "tokenFile")
        .shape("env:TOKEN")
        .unit("gitea-runner-{}.service")
        .note(RUNNER),
    beside("services.gitea.database.password", "passwordFile").owner("gitea").unit("gitea.service"),
    beside("services.forgejo.database.password", "passwordFile").owner("forgejo").unit("forgejo.service"),
    elsewhere("services.gitea.settings.mailer.PASSWD", "give the path to services.gitea.mailerPasswordFile"),
    elsewhere("services.forgejo.settings.mailer.PASSWD", "give the path to services.forgejo.secrets.mailer.PASSWD"),
    elsewhere(
        "services.forgejo.settings.security.SECRET_KEY",
        "give the path to services.forgejo.secrets.security.SECRET_KEY",
    ),
    elsewhere(
        "services.forgejo.settings.security.INTERNAL_TOKEN",
        "give the path to services.forgejo.secrets.security.INTERNAL_TOKEN",
    ),
    elsewhere(
        "services.gitea.settings.security.SECRET_KEY",
        "take it away: the module makes one in its state directory",
    ),
    elsewhere("services.gitea.settings.security.INTERNAL_TOKEN", "take it away: the module makes one by itself"),
    // Networks.
    beside("networking.wireguard.interfaces.*.privateKey", "privateKeyFile").unit("wireguard-{}.service"),
    beside("networking.wireguard.interfaces.*.peers.*.presharedKey", "presharedKeyFile"),
    beside("networking.wg-quick.interfaces.*.privateKey", "privateKeyFile").unit("wg-quick-{}.service"),
    beside("networking.wg-quick.interfaces.*.peers.*.presharedKey", "presharedKeyFile"),
    beside("systemd.network.netdevs.*.wireguardConfig.PrivateKey", "PrivateKeyFile")
        .owner("systemd-network")
        .unit("systemd-networkd.service"),
    beside("systemd.network.netdevs.*.wireguardPeers.*.PresharedKey", "PresharedKeyFile")
        .owner("systemd-network")
        .unit("systemd-networkd.service"),
    beside("systemd.network.netdevs.*.wireguardPeers.*.wireguardPeerConfig.PresharedKey", "PresharedKeyFile")
        .owner("systemd-network")
        .unit("systemd-networkd.service"),
    elsewhere(
        "networking.wireless.networks.*.psk",
        "seal `psk_home=…` as raw, set networking.wireless.secretsFile to its path, and pskRaw = \"ext:psk_home\"",
    ),
    elsewhere(
        "networking.networkmanager.ensureProfiles.profiles.*.wifi-security.psk",
        "seal it as env:PSK_HOME, give the path to ensureProfiles.environmentFiles, and write psk = \"$PSK_HOME\"",
    )
    .shape("env:PSK_HOME"),
    elsewhere("networking.wireless.networks.*.pskRaw", "as with psk: secretsFile, and pskRaw = \"ext:NAME\""),
    elsewhere(
        "networking.wireless.networks.*.auth",
        "seal the password for secretsFile, and write `password=ext:NAME`",
    ),
    beside("services.hostapd.radios.*.networks.*.authentication.wpaPassword", "wpaPasswordFile")
        .unit("hostapd.service"),
    elsewhere(
        "services.hostapd.radios.*.networks.*.authentication.saePasswords.*.password",
        "give a file with one password a line to saePasswordsFile",
    ),
    elsewhere("services.openvpn.servers.*.authUserPass.password", "write `auth-user-pass PATH` into `config` instead"),
    // Users.
    elsewhere("users.users.*.password", HASH_IT),
    elsewhere("users.users.*.initialPassword", HASH_IT),
    elsewhere("users.extraUsers.*.password", HASH_IT),
    elsewhere("users.extraUsers.*.initialPassword", HASH_IT),
    beside("users.users.*.hashedPassword", "hashedPasswordFile").for_users(),
    beside("users.users.*.initialHashedPassword", "hashedPasswordFile").for_users(),
    beside("users.extraUsers.*.hashedPassword", "hashedPasswordFile").for_users(),
    beside("users.extraUsers.*.initialHashedPassword", "hashedPasswordFile").for_users(),
    // Services.
    beside("services.nextcloud.config.adminpass", "adminpassFile").owner("nextcloud"),
    beside("services.nextcloud.config.dbpass", "dbpassFile").owner("nextcloud"),
    beside("services.nextcloud.config.objectstore.s3.secret", "secretFile").owner("nextcloud"),
    elsewhere("services.nextcloud.settings.mail_smtppassword", "seal it as JSON for services.nextcloud.secretFile")
        .shape("json"),
    wrapped("services.grafana.settings.security.admin_password", "admin_password", "$__file{", "}")
        .owner("grafana")
        .unit("grafana.service"),
    wrapped("services.grafana.settings.security.secret_key", "secret_key", "$__file{", "}")
        .owner("grafana")
        .unit("grafana.service"),
    wrapped("services.grafana.settings.database.password", "password", "$__file{", "}")
        .owner("grafana")
        .unit("grafana.service"),
    wrapped("services.grafana.settings.smtp.password", "password", "$__file{", "}")
        .owner("grafana")
        .unit("grafana.service"),
    elsewhere("services.syncthing.settings.gui.password", "give the path to services.syncthing.guiPasswordFile"),
    elsewhere("services.vaultwarden.config.ADMIN_TOKEN", "give the path to services.vaultwarden.environmentFile")
        .shape("env:ADMIN_TOKEN"),
    beside("services.mosquitto.listeners.*.users.*.password", "passwordFile")
        .owner("mosquitto")
        .unit("mosquitto.service"),
    beside("services.mosquitto.listeners.*.users.*.hashedPassword", "hashedPasswordFile")
        .owner("mosquitto")
        .unit("mosquitto.service"),
    beside("services.matrix-synapse.settings.registration_shared_secret", "registration_shared_secret_path")
        .owner("matrix-synapse")
        .unit("matrix-synapse.service"),
    beside("services.matrix-synapse.settings.macaroon_secret_key", "macaroon_secret_key_path")
        .owner("matrix-synapse")
        .unit("matrix-synapse.service"),
    beside("services.matrix-synapse.settings.turn_shared_secret", "turn_shared_secret_path")
        .owner("matrix-synapse")
        .unit("matrix-synapse.service"),
    beside("services.coturn.static-auth-secret", "static-auth-secret-file").owner("turnserver").unit("coturn.service"),
    beside("services.redis.servers.*.requirePass", "requirePassFile"),
    beside("services.ddclient.password", "passwordFile"),
    beside("services.k3s.token", "tokenFile").unit("k3s.service"),
    beside("services.k3s.agentToken", "agentTokenFile").unit("k3s.service"),
    beside("services.rke2.token", "tokenFile"),
    wrapped("services.borgbackup.jobs.*.encryption.passphrase", "passCommand", "cat ", "").shape("raw"),
    beside("services.prometheus.scrapeConfigs.*.basic_auth.password", "password_file")
        .owner("prometheus")
        .note(PROMTOOL),
    beside("services.prometheus.scrapeConfigs.*.bearer_token", "bearer_token_file").owner("prometheus").note(PROMTOOL),
    beside("services.prometheus.scrapeConfigs.*.authorization.credentials", "credentials_file")
        .owner("prometheus")
        .note(PROMTOOL),
    beside("services.prometheus.remoteWrite.*.basic_auth.password", "password_file").owner("prometheus").note(PROMTOOL),
    elsewhere("services.oauth2-proxy.clientSecret", "give the path to services.oauth2-proxy.keyFile")
        .shape("env:OAUTH2_PROXY_CLIENT_SECRET"),
    elsewhere("services.oauth2-proxy.cookie.secret", "give the path to services.oauth2-proxy.keyFile")
        .shape("env:OAUTH2_PROXY_COOKIE_SECRET"),
    elsewhere(
        "services.transmission.settings.rpc-password",
        "seal it as JSON for services.transmission.credentialsFile",
    )
    .shape("json"),
    elsewhere("services.murmur.password", "give the path to services.murmur.environmentFile")
        .shape("env:MURMURD_PASSWORD"),
];

/// The option at this path, and the words that its stars stand for.
pub fn find<'a>(path: &[&'a str]) -> Option<(&'static Inline, Vec<&'a str>)> {
    INLINE.iter().find_map(|row| Some((row, stars(row.option, path)?)))
}

/// The words of the path that the stars of a pattern stand for, if the path ends as the pattern says.
pub fn stars<'a>(pattern: &str, path: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut stars = Vec::new();
    let mut words = path.iter().rev();
    for wanted in pattern.rsplit('.') {
        let word = *words.next()?;
        if wanted == "*" {
            stars.push(word);
        } else if wanted != word {
            return None;
        }
    }
    stars.reverse();
    Some(stars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{UnitName, UnixName};
    use crate::domain::secret::shape::Shape;

    #[test]
    fn rows_hold_what_a_policy_takes() {
        for row in INLINE {
            assert!(row.shape.parse::<Shape>().is_ok(), "{}", row.option);
            assert!(row.owner.parse::<UnixName>().is_ok(), "{}", row.option);
            assert!(row.unit.is_empty() || row.unit.replace("{}", "x").parse::<UnitName>().is_ok(), "{}", row.option);
            assert_eq!(INLINE.iter().filter(|other| other.option == row.option).count(), 1, "{}", row.option);
        }
    }

    #[test]
    fn a_path_is_found_by_its_end() {
        let path = ["containers", "x", "config", "services", "gitea-actions-runner", "instances", "main", "token"];
        let (row, stars) = find(&path).unwrap();
        assert_eq!((row.unit, stars), ("gitea-runner-{}.service", vec!["main"]));
        assert!(find(&path[..7]).is_none());
        assert!(find(&["gitea-actions-runner", "instances", "main", "token"]).is_none());
    }
}
