//! What recipients.toml may contain, and the errors for everything else.

use std::num::NonZeroU32;

use super::*;
use crate::domain::policy::{Mode, Probe};
use crate::domain::secret::shape::Shape;
use crate::error::Kind;

fn key() -> String {
    age::x25519::Identity::generate().to_public().to_string()
}

/// A valid policy with one host, followed by `more`.
fn with(more: &str) -> String {
    format!(
        "version = 1\n[admins]\njay = [\"{}\"]\n[hosts.web]\nkeys = [\"{}\"]\ntags = [\"runner\"]\n{more}",
        key(),
        key()
    )
}

/// The faults of a text and their help, as one string.
#[track_caller]
fn faults(text: &str) -> String {
    let error = parse(text).expect_err("the text is refused");
    assert_eq!(error.kind(), Kind::Usage);
    let all = std::iter::once(&error).chain(error.parts());
    all.map(|error| format!("{} [{}]", error.message(), error.advice().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn everything_that_may_be_said_is_understood() {
    let policy = parse(&with(
        r#"
[secrets.token]
hosts = ["@runner"]
owner = "gitea"
group = "1000"
mode = "0440"
path = "/var/lib/gitea/token"
shape = "env:TOKEN"
restart = ["gitea.service"]
reload = ["nginx.service"]
rotate_every = "12w"
expires = "2027-03-01"
generate = { kind = "password", length = 40 }
description = "runner"
[secrets."ssh-keys/jay"]
hosts = ["*"]
per_host = true
allow_unsealed = true
[secrets.root-password]
hosts = ["web"]
needed_for_users = true
[deploy]
engine = "native"
jobs = 8
canary = "web"
diff = "nvd"
at_most = { "@runner" = 1 }
[checks.desktop]
on = ["@runner"]
unit = "display-manager.service"
[checks.names]
host_name = true
[retired.old]
keys = []
since = "2026-11-23"
"#,
    ))
    .unwrap();
    let token = &policy.secrets["token"];
    assert_eq!((token.delivery.mode, token.rotate_every.map(NonZeroU32::get)), (Mode(0o440), Some(84)));
    assert_eq!(token.shape, Shape::Env("TOKEN".into()));
    assert_eq!(policy.secrets["root-password"].delivery.path, "/run/sealift-users/root-password");
    assert!(policy.wanted().contains_key("ssh-keys/jay/web"));
    assert_eq!(policy.checks["desktop"].probe, Probe::Unit("display-manager.service".parse().unwrap()));
}

#[test]
fn each_fault_names_file_line_key_and_mend() {
    for (more, expected) in [
        ("[secrets.a]\nhost = [\"web\"]\n", "recipients.toml:8: unknown key or word `host` [did you mean `hosts`?]"),
        ("[secrets.a]\n", "recipients.toml:7: `hosts` is missing"),
        (
            "[secrets.a]\nhosts = [\"wbe\"]\n",
            "recipients.toml:8: secrets.a.hosts: unknown host `wbe` [did you mean `web`?]",
        ),
        ("[secrets.a]\nhosts = [\"@runners\"]\n", "unknown host `@runners` [did you mean `@runner`?]"),
        ("[secrets.a]\nhosts = \"web\"\n", "recipients.toml:8: hosts: expected a list, as in [\"…\"]"),
        ("[secrets.a]\nhosts = [\"web\"]\nmode = 400\n", "recipients.toml:9: mode: expected text in quotes"),
        ("[secrets.a]\nhosts = [\"web\"]\nper_host = \"yes\"\n", "recipients.toml:9: per_host: expected true or false"),
        (
            "[secrets.a]\nhosts = [\"web\"]\ngenerate = \"hex\"\n",
            "generate: expected a table, as in { kind = \"password\" }",
        ),
        ("[deploy]\njobs = \"four\"\n", "recipients.toml:8: jobs: expected a whole number"),
        ("[secrets]\na = 1\n", "recipients.toml:8: a: expected a table"),
        ("[secrets.a]\nhosts = [\"web\"]\n[secrets.a]\nhosts = []\n", "recipients.toml:9: this key is given twice"),
        (
            "[secrets.a]\nhosts = [\"web\"]\n[secrets.\"a/b\"]\nhosts = [\"web\"]\n",
            "secrets.a/b: its name lies in a folder of the secret a",
        ),
        ("[secrets.a]\nhosts = [\"web\"]\nmode = \"0444\"\n", "secrets.a.mode: not a mode for a secret"),
        ("[secrets.a]\nhosts = [\"web\"]\nmode = \"4400\"\n", "secrets.a.mode: not a mode for a secret"),
        ("[secrets.a]\nhosts = [\"web\"]\npath = \"/nix/store/x\"\n", "secrets.a.path: the path is in the Nix store"),
        ("[secrets.a]\nhosts = [\"web\"]\npath = \"run/x\"\n", "secrets.a.path: the path is not absolute"),
        (
            "[secrets.a]\nhosts = [\"web\"]\npath = \"/run/../etc/x\"\n",
            "secrets.a.path: the path has an empty part, `.` or `..`",
        ),
        (
            "[secrets.a]\nhosts = [\"web\"]\npath = \"/run/x\"\n[secrets.b]\nhosts = [\"web\"]\npath = \"/run/x\"\n",
            "it is delivered to the path of a",
        ),
        (
            "[secrets.a]\nhosts = [\"web\"]\npath = \"/run/x\"\n[secrets.b]\nhosts = [\"web\"]\npath = \"/run/x/y\"\n",
            "its path lies below the path of a",
        ),
        ("[secrets.a]\nhosts = [\"web\"]\nrotate_every = \"soon\"\n", "secrets.a.rotate_every: not a length of time"),
        ("[secrets.a]\nhosts = [\"web\"]\nexpires = \"2027-13-01\"\n", "secrets.a.expires: not a date"),
        ("[secrets.a]\nhosts = [\"web\"]\nshape = \"env:1A\"\n", "secrets.a.shape: not a shape [shapes: raw"),
        (
            "[secrets.a]\nhosts = [\"web\"]\ngenerate = { kind = \"password\", length = 4 }\n",
            "secrets.a.generate: the size is out of range",
        ),
        ("[secrets.a]\nhosts = [\"web\"]\nrestart = [\"--now\"]\n", "secrets.a.restart: not a unit name"),
        ("[secrets.\"../x\"]\nhosts = [\"web\"]\n", "recipients.toml:7: secrets: not a secret name"),
        ("[hosts.Web]\nkeys = [\"age1\"]\n", "hosts: not a host name"),
        ("[hosts.db]\nkeys = []\n", "recipients.toml:8: hosts.db.keys: a host without a key"),
        (
            "[hosts.db]\nkeys = []\nconfiguration = \"db\\\".x\"\n",
            "recipients.toml:9: hosts.db.configuration: not a configuration name",
        ),
        ("[hosts.Web_1]\nkeys = []\n", "where the flake has another name, such as Web_1, that is its `configuration`"),
        ("[hosts.db]\nkeys = [\"ssh-dss AAAA\"]\n", "hosts.db.keys: an ecdsa or security-key"),
        ("[hosts.db]\nkeys = [\"x\"]\naddress = \"-oProxyCommand=x\"\n", "hosts.db.address: not an address"),
        ("[checks.a]\n", "checks.a: a check looks at exactly one thing"),
        (
            "[checks.a]\n",
            "give one of: command, default_route, exists, gpu, host_name, login_shell, no_failed_units, port,",
        ),
        ("[checks.a]\nport = 0\n", "checks.a.port: a port is a number from 1 to 65535"),
        ("[checks.a]\nport = 70000\n", "checks.a.port: a port is a number from 1 to 65535"),
        ("[checks.a]\nprogram = \"../x\"\n", "checks.a.program: not a bare name"),
        ("[checks.a]\ngpu = \"-x\"\n", "checks.a.gpu: not a bare name"),
        ("[checks.a]\nhost_name = true\nuser = \"jay\"\n", "only `program` is looked for"),
        ("[checks.a]\nhost_name = true\nunit = \"a.service\"\n", "checks.a: a check looks at exactly one thing"),
        ("[deploy]\ncanary = \"nowhere\"\n", "deploy.canary: not a host of this fleet"),
        ("[deploy]\nat_most = { \"@nowhere\" = 1 }\n", "deploy.at_most: no host has this tag"),
        ("[deploy]\nat_most = { web = 1 }\n", "deploy.at_most: not a tag"),
        // Only programs that sealift knows are run because a repository names them.
        ("[deploy]\ndiff = \"./dix\"\n", "unknown key or word"),
        ("[deploy]\ndiff = \"/tmp/nvd\"\n", "unknown key or word"),
        ("[deploy]\ndiff = \"nvd --version\"\n", "unknown key or word"),
        ("[deploy]\ndiff = \"sh\"\n", "an unknown key or word"),
        ("[deploy]\nengine = \"nativ\"\n", "[did you mean `native`?]"),
        ("x = [\n", "not valid TOML here"),
        ("<<<<<<< HEAD\n", "recipients.toml:7: a merge left conflict markers"),
    ] {
        let said = faults(&with(more));
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let said = faults(&with("[secrets.a]\nhosts = [\"nobody\"]\nmode = \"0777\"\n[hosts.db]\nkeys = []\n"));
    assert!(said.contains("3 faults"), "{said}");
}

#[test]
fn a_key_has_one_holder() {
    let shared = key();
    for (text, expected) in [
        (
            format!("[hosts.a]\nkeys = [\"{shared}\"]\n[hosts.b]\nkeys = [\"{shared}\"]\n"),
            "this key is also the key of host a",
        ),
        (format!("[hosts.a]\nkeys = [\"{shared}\", \"{}\"]\n", shared.to_uppercase()), "this key is listed twice"),
        (
            format!("[hosts.a]\nkeys = [\"{shared}\"]\n[retired.b]\nkeys = [\"{shared}\"]\n"),
            "retired host b was removed, and may still have it: give host a another key",
        ),
    ] {
        let said = faults(&with(&text));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_a_host_is_called_is_no_other_hosts_name() {
    let host = |name: &str, more: &str| format!("[hosts.{name}]\nkeys = [\"{}\"]\n{more}", key());
    let named = |name: &str, configuration: &str| host(name, &format!("configuration = \"{configuration}\"\n"));
    for (text, expected) in [
        (named("db", "web"), "recipients.toml:9: hosts.db.configuration: web is also what the host web is called"),
        (named("a", "Web_1") + &named("b", "Web_1"), "hosts.b.configuration: Web_1 is also what the host a is called"),
        (named("a", "b") + &named("b", "a"), "2 faults"),
        (named("a", "b") + &named("b", "B"), "hosts.a.configuration: b is also what the host b is called"),
        (
            named("a", "Web_1") + "[secrets.s]\nhosts = [\"Web_1\"]\n",
            "secrets.s.hosts: unknown host `Web_1` [did you mean `a`?",
        ),
        (named("a", "Web_1") + "[secrets.s]\nhosts = [\"Wbe_1\"]\n", "unknown host `Wbe_1` [did you mean `a`?"),
        (named("a", "s") + "[secrets.s]\nhosts = [\"s\"]\n", "secrets.s.hosts: unknown host `s` [did you mean `a`?"),
    ] {
        let said = faults(&with(&text));
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
    let policy = parse(&with(&(named("a", "Web_1") + &named("b", "b") + &host("c", "")))).unwrap();
    let called = |word: &str| policy.called(word).map(ToString::to_string);
    assert_eq!(["a", "Web_1", "b", "web"].map(|word| called(word).unwrap()), ["a", "a", "b", "web"]);
    assert_eq!((called("web_1"), called("Web")), (None, None), "letters count");
    assert_eq!(policy.hosts["c"].configuration.as_str(), "c");
}

#[test]
fn a_pasted_private_key_is_named_and_never_shown() {
    use age::secrecy::ExposeSecret;
    let secret = age::x25519::Identity::generate().to_string();
    let secret = secret.expose_secret();
    for more in [
        format!("{secret}\n"),
        format!("x = \"{secret}\"\n"),
        format!("[secrets.a]\nhosts = [\"{secret}\"]\n"),
        format!("[secrets.a]\nhosts = [\"web\"]\nshape = \"{secret}\"\n"),
        format!("[secrets.a]\nhosts = [\"web\"]\nowner = \"{secret}\"\n"),
        format!("[hosts.db]\nkeys = [\"{secret}\"]\n"),
        format!("[hosts.\"{secret}\"]\nkeys = []\n"),
        format!("{secret} = 1\n"),
        format!("[deploy]\nengine = \"{secret}\"\n"),
        format!("[deploy]\njobs = \"{secret}\"\n"),
    ] {
        let said = faults(&with(&more));
        assert!(!said.to_uppercase().contains(secret.get(20..40).unwrap()), "{said}");
    }
    assert!(faults(&with(&format!("{secret}\n"))).contains("looks like a private key"));
}

#[test]
fn only_plain_text_is_read() {
    assert!(faults("\u{feff}version = 1\n").contains("byte order mark"));
    assert!(faults("version = 1\r\n").contains("CRLF"));
    assert!(faults("version = 2\n").contains("this version is not known [use a newer sealift]"));
    assert!(faults("").contains("`version` is missing"));
}

#[test]
fn hostile_sizes_are_cheap() {
    let deep = format!("x = {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(parse(&with(&deep)).is_err());
    let escape = "[secrets.\"a\\u001b]52;c;x\\u0007\"]\nhosts = [\"web\"]\n";
    assert!(!faults(&with(escape)).contains('\u{1b}'));
}

#[test]
fn the_schema_knows_every_key() {
    let schema = crate::domain::policy::schema::schema().to_string();
    for word in ["needed_for_users", "rotate_every", "ssh-ed25519", "default_route", "allow_unsealed", "nixos-rebuild"]
    {
        assert!(schema.contains(word), "{word}");
    }
}

#[test]
fn a_path_where_no_link_is_ever_made_is_refused_at_once() {
    for path in [
        "/nix",
        "/nix/var/x",
        "/proc/self/x",
        "/sys/x",
        "/run/sealift",
        "/run/sealift/x",
        "/run/sealift.d/5/x",
        "/run/sealift-users/a",
        "/run/sealift-users.d/1/a",
        "/run/sealift.lock",
    ] {
        let text = with(&format!("[secrets.a]\nhosts = [\"web\"]\npath = \"{path}\"\n"));
        assert!(faults(&text).contains("secrets.a.path: the path is "), "{path}");
    }
    for path in ["/run/sealift/a", "/run/sealifted/a", "/run/sealift.de", "/nixos/a", "/system"] {
        let text = with(&format!("[secrets.a]\nhosts = [\"web\"]\npath = \"{path}\"\n"));
        assert!(parse(&text).is_ok(), "{path}");
    }
}
