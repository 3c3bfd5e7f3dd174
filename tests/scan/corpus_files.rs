//! The corpus for measuring recall and false positives: typical files, each with one planted secret of one rule, and as
//! many without. Generated from the rules' own patterns and from other text.

use sealift::domain::scan::rules;
use sealift::domain::scan::sample::make;

pub struct File {
    pub path: String,
    pub text: String,
    /// The rule of the planted secret; `None` in a file that must have no finding.
    pub rule: Option<&'static str>,
}

/// Lines that resemble secrets: digests, public keys, references, placeholders.
const HARMLESS: [&str; 24] = [
    "hash = \"sha256-<b43>=\";",
    "rev = \"<h40>\";",
    "narHash = \"sha256-<b43>=\";",
    "vendorHash = \"sha256-<b43>=\";",
    "sha256 = \"0<h51>\";",
    "uuid = \"<h8>-<h4>-4<h3>-a<h3>-<h12>\";",
    "path = \"/nix/store/<h32>-source\";",
    "sshKey = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI<b43> jay@host\";",
    "publicKey = \"<b43>=\";",
    "substituterKeys = [ \"cache.example.org-1:<b43>=\" ];",
    "tokenFile = config.sealift.secrets.runner.path;",
    "passwordFile = \"/run/sealift/wallabag\";",
    "password = \"changeme\";",
    "secretKey = \"\\${SECRET_KEY}\";",
    "api_key = \"<your-api-key>\";",
    "token = builtins.readFile ./token;",
    "url = \"https://user:password@example.org\";",
    "image = \"sha256:<h64>\";",
    "tokenType = \"bearer\";",
    "passwordMinLength = 12;",
    "secretName = \"wallabag-database\";",
    "age = \"age1<h58>\";",
    "integrity = \"sha512-<b86>==\";",
    "cookieName = \"session_token_v2\";",
];

/// Generates the corpus: `rounds` files of each kind for each pattern.
pub fn all(rounds: u64) -> Vec<File> {
    let mut files = Vec::new();
    for rule in rules::all() {
        for (number, form) in rule.yes.into_iter().enumerate() {
            for round in 0..rounds {
                let seed = 1000 + round * 7 + number as u64;
                let text = make(form, seed);
                for (kind, text) in placed(&text, seed) {
                    let path = format!("planted/{}/{number}-{round}.{kind}", rule.about.id);
                    files.push(File { path, text, rule: Some(rule.about.id) });
                }
            }
        }
    }
    for round in 0..rounds * 40 {
        let line = |number: u64| {
            make(HARMLESS[usize::try_from((round + number) % 24).unwrap_or(0)], 9000 + round * 31 + number)
        };
        let lines = [line(0), line(7), line(13)];
        for (kind, text) in placed(&lines.join("\n"), round) {
            files.push(File { path: format!("clean/{round}.{kind}"), text, rule: None });
        }
    }
    files
}

/// A text in its usual context, in each kind of file that can contain it.
fn placed(text: &str, seed: u64) -> Vec<(&'static str, String)> {
    // A lone token is put into a string; a line stays a line.
    let alone = !text.contains([' ', '\n', '"', '\'', '=']) || text.contains("://");
    let is_bare = text
        .lines()
        .any(|line| (line.contains(" = ") || line.contains(": ") || line.contains('=')) && !line.contains(['"', '\'']));
    let block = text.contains('\n') || text.contains('\0');
    let port = 1024 + seed % 60000;
    let mut files = Vec::new();
    let nix = |line: &str| {
        format!(
            "{{ config, lib, pkgs, ... }}:\n{{\n  services.nginx.enable = true;\n  networking.firewall.allowedTCPPorts = [ {port} ];\n  {line}\n  system.stateVersion = \"25.05\";\n}}\n"
        )
    };
    let shell = |line: &str| {
        format!(
            "#!/usr/bin/env bash\nset -euo pipefail\nport={port}\n{line}\nexec curl -fsS \"http://localhost:$port/\"\n"
        )
    };
    let yaml =
        |line: &str| format!("services:\n  web:\n    image: nginx:1.27\n    ports:\n      - \"{port}:80\"\n{line}\n");
    let json = |line: &str| format!("{{\n  \"name\": \"web\",\n  \"port\": {port},\n{line}\n  \"enabled\": true\n}}\n");
    if alone {
        files.push(("nix", nix(&format!("services.web.settings.value = \"{text}\";"))));
        files.push(("sh", shell(&format!("export VALUE={text}"))));
        files.push(("yaml", yaml(&format!("    value: {text}"))));
        files.push(("json", json(&format!("  \"value\": \"{text}\","))));
    } else if block {
        files.push(("nix", nix(&format!("environment.etc.key.text = ''\n{text}\n  '';"))));
        files.push(("sh", shell(&format!("cat >key <<'END'\n{text}\nEND"))));
        files.push(("txt", text.to_owned()));
    } else {
        files.push(("sh", shell(text)));
        files.push(("yaml", yaml(&format!("    {text}"))));
        if !is_bare {
            files.push(("nix", nix(text)));
            files.push(("json", json(&format!("  {text}"))));
        }
    }
    files
}
