//! What each rule finds and ignores, every form in which an option can be written, and hostile input.

use super::*;
use crate::domain::nix::finding::NixRule;
use crate::domain::nix::guard;

/// The rules and options of the findings; also checks that each literal is where the finding says.
fn seen(text: &str) -> Vec<(&'static str, String)> {
    let found = look(text).unwrap_or_else(|unread| panic!("{unread}: {text}"));
    let lower = text.to_lowercase();
    assert!(found.is_empty() || WORDS.iter().any(|word| lower.contains(word)), "a scan would not read {text}");
    for found in &found {
        let literal = text.get(found.span.clone()).unwrap();
        assert!(literal.contains("VALUE") || found.rule != NixRule::InlineSecret, "{literal}");
        assert_eq!(found.line, guard::line_of(text, found.span.start));
    }
    found.into_iter().map(|found| (found.rule.id(), found.option())).collect()
}

fn sees(rule: NixRule, text: &str) -> bool {
    seen(text).iter().any(|(id, _)| *id == rule.id())
}

/// Two of each: the first pair is found, the second is not.
const EXAMPLES: [(NixRule, [&str; 2], [&str; 2]); 7] = [
    (
        NixRule::InlineSecret,
        [
            "{ services.gitea-actions-runner.instances.main = { url = \"u\"; token = \"VALUE\"; }; }",
            "{ networking.wireguard.interfaces.wg0.peers = [ { presharedKey = \"VALUE\"; } ]; }",
        ],
        [
            "{ services.gitea-actions-runner.instances.main.tokenFile = \"/run/sealift/token\"; }",
            "{ config, ... }: { services.gitea.database = { password = \"\"; name = \"VALUE\"; }; }",
        ],
    ),
    (
        NixRule::PasswordHash,
        [
            "{ users.users.jay.hashedPassword = \"$6$VALUE\"; }",
            "{ users.users = { root = { initialHashedPassword = \"$y$VALUE\"; }; }; }",
        ],
        ["{ users.users.jay.hashedPassword = \"!\"; }", "{ users.users.jay.hashedPasswordFile = \"/run/x\"; }"],
    ),
    (
        NixRule::SecretOption,
        [
            "{ services.frobnicate.apiKey = \"changeme\"; }",
            "{ services.x.settings.auth.\"client-secret\" = \"VALUE\"; }",
        ],
        ["{ services.x.tokenFile = \"VALUE\"; }", "{ config, ... }: { services.x.password = config.y.password; }"],
    ),
    (
        NixRule::ReadSecret,
        [
            "{ a.b = builtins.readFile ./secrets/db-password; }",
            "{ config, lib, ... }: { a = lib.fileContents config.age.secrets.token.path; }",
        ],
        ["{ a.secret = builtins.readFile ./motd.txt; }", "{ key = builtins.readFile ./keys/id_ed25519.pub; }"],
    ),
    (
        NixRule::KeyPath,
        ["{ services.x.keyFile = ./certs/server.key; }", "{ p = [ /etc/ssh/ssh_host_ed25519_key ]; }"],
        ["{ services.x.keyFile = \"/var/lib/server.key\"; }", "{ file = ./secrets/server.key.age; }"],
    ),
    (
        NixRule::UnitEnvironment,
        [
            "{ systemd.services.bot.environment = { BOT_TOKEN = \"VALUE\"; }; }",
            "{ systemd.services.bot.serviceConfig.Environment = [ \"A=1\" \"API_KEY=VALUE\" ]; }",
        ],
        [
            "{ systemd.services.bot.environment.BOT_TOKEN_FILE = \"/run/sealift/bot\"; }",
            "{ systemd.services.bot.serviceConfig.Environment = \"TOKEN_TTL=60 SECRET=\"; }",
        ],
    ),
    (
        NixRule::KeyInPlace,
        [
            "{ home.file.\".ssh/id_ed25519\".source = ./id_ed25519; }",
            "{ environment.etc.\"ssh/ssh_host_ed25519_key\" = { text = \"VALUE\"; mode = \"0600\"; }; }",
        ],
        [
            "{ home.file.\".ssh/id_ed25519.pub\".source = ./id_ed25519.pub; }",
            "{ config, ... }: { home.file.\".ssh/id_rsa\".source = config.lib.file.mkOutOfStoreSymlink \"/run/x\"; }",
        ],
    ),
];

#[test]
fn each_rule_finds_its_own_and_leaves_its_false_friends() {
    assert_eq!(EXAMPLES.map(|(rule, ..)| rule).to_vec(), NixRule::ALL.to_vec());
    for (rule, found, left) in EXAMPLES {
        for text in found {
            assert!(sees(rule, text), "{rule} does not find: {text}");
        }
        for text in left {
            assert_eq!(seen(text), [], "{rule} finds: {text}");
        }
    }
}

#[test]
fn an_option_is_seen_in_every_form_that_nix_has() {
    let option = "services.gitea.database.password";
    for text in [
        r#"{ services.gitea.database.password = "VALUE"; }"#,
        r#"{ services = { gitea = { database = { password = "VALUE"; }; }; }; }"#,
        r#"{ "services"."gitea".database.${"password"} = ''VALUE''; }"#,
        r#"{ config, lib, ... }: { services.gitea = lib.mkIf config.x { database.password = lib.mkForce "VALUE"; }; }"#,
        r#"{ lib, ... }: with lib; { services.gitea = mkMerge [ { a = 1; } (mkIf true { database.password = "VALUE"; }) ]; }"#,
        r#"{ lib, ... }: { services.gitea = { a = 1; } // lib.optionalAttrs true { database.password = "VALUE"; }; }"#,
        r#"let password = "VALUE"; in { services.gitea.database.password = password; }"#,
        r#"let password = "VALUE"; in { services.gitea.database = { inherit password; }; }"#,
        r#"let a = (b); b = "VALUE"; in { services.gitea.database.password = a; }"#,
        r#"let s = { db.pw = "VALUE"; }; in { services.gitea.database.password = s.db.pw; }"#,
        r#"rec { pw = "VALUE"; services.gitea.database.password = pw; }"#,
        r#"{ x ? 1 }: if x == 1 then { services.gitea.database.password = "VALUE"; } else { }"#,
        r#"{ services.gitea.database.password = if a then "VALUE" else null; }"#,
        r#"{ c, ... }: { services.gitea.database.password = c.pw or "VALUE"; }"#,
        r#"{ imports = [ ({ lib, ... }: { services.gitea.database.password = "VALUE"; }) ]; }"#,
        r#"assert true; { config = { services.gitea.database.password = "VALUE"; }; }"#,
        r#"{ outputs = { nixpkgs }: { x = nixpkgs.lib.nixosSystem { modules = [ { services.gitea.database.password = "VALUE"; } ]; }; }; }"#,
    ] {
        let found = seen(text);
        assert!(
            matches!(found.as_slice(), [(id, path)] if *id == "nix-inline-secret" && path.ends_with(option)),
            "{text}: {found:?}"
        );
    }
    for text in [
        r#"{ lib, ... }: { services.gitea-actions-runner.instances = lib.genAttrs [ "a" ] (name: { token = "VALUE"; }); }"#,
        r#"{ services.gitea-actions-runner.instances.${n}.token = "VALUE"; }"#,
    ] {
        let option = "services.gitea-actions-runner.instances.*.token".to_owned();
        assert_eq!(seen(text), [("nix-inline-secret", option)], "{text}");
    }
}

#[test]
fn what_is_no_literal_is_no_finding() {
    for value in [
        r#""""#,
        "''  ''",
        "null",
        "config.sops.x",
        r#""${config.x}""#,
        "pw",
        "a.b",
        r#"f "x""#,
        r#""/run/secrets/x""#,
        r#""$__file{/run/x}""#,
        r#""\${PASSWORD}""#,
        "''''${PASSWORD}''",
        r#""$PASSWORD""#,
        r#""@password@""#,
        "./file",
        "builtins.readFile ./public.txt",
    ] {
        let text = format!("{{ config, ... }}: {{ services.gitea.database.password = {value}; }}");
        assert_eq!(seen(&text), [], "{value}");
    }
    for text in [
        r#"{ services.x.settings.psk = "$psk_home"; }"#,
        r#"{ services.x.entries.gmaps-api-key = "gmaps-api-key"; }"#,
        r#"{ services.nginx.virtualHosts.a.locations."/".proxyPass = "http://[::1]:1"; }"#,
        r#"{ services.x.auth.token = "/run/$NAME/token"; }"#,
        r#"{ services.x.api.secret = "my-api-secret"; }"#,
    ] {
        assert_eq!(seen(text), [], "{text}");
    }
    assert!(sees(NixRule::SecretOption, r#"{ services.unknown.hashedPassword = "$argon2id$VALUE"; }"#));
    // An argument shadows the binding of an outer `let`.
    assert_eq!(seen(r#"let pw = "VALUE"; in { pw, ... }: { services.gitea.database.password = pw; }"#), []);
    assert!(sees(NixRule::InlineSecret, r#"{ services.gitea.database.password = "changeme VALUE"; }"#));
}

#[test]
fn every_row_of_the_table_is_found() {
    for row in crate::domain::nix::options::rows() {
        let Some(option) = &row.option else { continue };
        let mut words: Vec<String> = option.split('.').map(|word| word.replace('*', "any")).collect();
        if option.ends_with(".*") {
            *words.last_mut().unwrap() = "API_TOKEN".to_owned();
        }
        if row.rule.as_deref() == Some("nix-key-in-place") {
            words[2] = "id_ed25519".to_owned();
        }
        let path = words.join("\".\"");
        let value = if option.ends_with(".auth") { "password=VALUE" } else { "VALUE long enough" };
        let text = format!("{{ \"{path}\" = \"{value}\"; }}");
        let found = look(&text).unwrap();
        assert!(matches!(found.as_slice(), [one] if one.known == Some(row)), "{text}: {found:?}");
        assert!(!found[0].advice("a.nix:1").is_empty() && !found[0].what().contains("VALUE"));
    }
}

#[test]
fn a_file_that_is_made_of_a_literal_is_one_that_everybody_can_read() {
    for option in ["services.pgadmin.initialPasswordFile", "services.unknown.x.tokenFile", "services.y.jwt_secret_path"]
    {
        for call in [
            "pkgs.writeText \"x\" \"VALUE\"",
            "builtins.toFile \"x\" ''VALUE''",
            "toString (pkgs.writeTextFile { name = \"x\"; text = \"VALUE\"; })",
            "\"${(pkgs.writeText \"x\" \"VALUE\")}\"",
            "let made = pkgs.writeText \"x\" \"VALUE\"; in made",
        ] {
            let text = format!("{{ pkgs, ... }}: {{ {option} = {call}; }}");
            let found = look(&text).unwrap();
            assert!(
                matches!(found.as_slice(), [one] if one.rule == NixRule::InlineSecret && one.call.is_some()),
                "{text}"
            );
            let advice = found[0].advice("hosts/a.nix:4");
            assert!(advice.contains("run: sealift adopt hosts/a.nix:4"), "{advice}");
        }
    }
    for text in [
        "{ pkgs, ... }: { services.x.configFile = pkgs.writeText \"x\" \"VALUE\"; }",
        "{ pkgs, ... }: { services.x.tokenFile = pkgs.writeText \"x\" \"/run/VALUE\"; }",
        "{ pkgs, ... }: { services.traefik.environmentFiles = [ (pkgs.writeText \"x\" \"LEVEL=VALUE\") ]; }",
        "{ pkgs, ... }: { services.vaultwarden.environmentFile = pkgs.writeText \"x\" \"TOKEN=$TOKEN\"; }",
    ] {
        assert_eq!(seen(text), [], "{text}");
    }
}

#[test]
fn variables_of_a_known_service_are_told_by_their_names() {
    assert_eq!(seen(r#"{ services.vaultwarden.config.SIGNUPS_ALLOWED = "no VALUE"; }"#), []);
    assert!(sees(NixRule::InlineSecret, r#"{ services.vaultwarden.config.ADMIN_TOKEN = "VALUE"; }"#));
    assert!(sees(NixRule::UnitEnvironment, r#"{ systemd.services.x.environment.API_TOKEN = "VALUE"; }"#));
    assert!(sees(NixRule::InlineSecret, r#"{ nix.settings.access-tokens = [ "github.com=VALUE" ]; }"#));
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_so() {
    assert_eq!(look("{ token = \"a\";\n b = ; }"), Err(Unread::Syntax(2)));
    assert_eq!(look(&format!("{}token", "(".repeat(1000))).map_err(Unread::hides), Err(true));
    assert_eq!(look(&format!("{{ token = 1; }} #{}", "x".repeat(guard::LIMIT))), Err(Unread::Large));
    assert_eq!(look("{ nothing = \"to see\"; }"), Ok(Vec::new()));
}

#[test]
fn a_set_that_is_named_often_is_not_walked_each_time() {
    let entries = "a = \"x\";".repeat(9_000);
    let uses = "b = s.z;".repeat(9_000);
    let text = format!("let s = {{ {entries} token = \"x\"; }}; in {{ {uses} }}");
    let begun = std::time::Instant::now();
    assert_eq!(look(&text), Ok(Vec::new()));
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}

mod soup {
    use proptest::prelude::*;

    use super::look;

    const WORDS: [&str; 47] = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"",
        "''",
        "${",
        ";",
        "=",
        ".",
        ":",
        "@",
        ",",
        "?",
        "...",
        "or",
        "let",
        "in",
        "with",
        "if",
        "then",
        "else",
        "rec",
        "inherit",
        "assert",
        "-",
        "!",
        "++",
        "//",
        "./a.key",
        "services.k3s",
        "token",
        "readFile",
        "x",
        "\\",
        "$",
        "'",
        "#",
        "\n",
        "/*",
        "ä",
        "\u{0}",
        "1.5",
        "|>",
        "environment",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// Any text is parsed or refused, and findings lie within the text.
        #[test]
        fn nothing_ends_the_program(words in proptest::collection::vec(0..WORDS.len(), 0..40), spaced: bool) {
            let words: Vec<&str> = words.into_iter().map(|at| WORDS[at]).collect();
            let text = format!("# token\n{}", words.join(if spaced { " " } else { "" }));
            if let Ok(found) = look(&text) {
                for found in found {
                    prop_assert!(text.get(found.span).is_some() && text.get(found.site).is_some());
                }
            }
        }
    }
}
