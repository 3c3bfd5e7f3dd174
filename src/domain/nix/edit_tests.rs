//! What is rewritten, exactly; what is refused; and that neither shows a value.

use super::*;
use crate::domain::nix::rules;

/// Rewrites the first finding as the table says.
fn adopted(text: &str) -> Result<Edited> {
    let found = rules::look(text).unwrap().remove(0);
    let option = found.target().unwrap_or_else(|| panic!("{text}"));
    let (value, list) = found.known.map_or((None, false), |known| (known.value.as_deref(), known.list));
    adopt(text, &found, &PathSetting { option: &option, value, list, secret: &"a".parse().unwrap() })
}

fn becomes(text: &str, new: &str) {
    let edited = adopted(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(edited.text, new);
    assert!(!edited.shown.join("\n").contains("VALUE"), "{:?}", edited.shown);
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = adopted(text).expect_err(text);
    assert!(error.message().contains(why) && error.advice().is_some(), "{text}: {error}");
    assert!(!error.message().contains("VALUE"));
}

#[test]
fn one_expression_changes_and_the_rest_stays_to_the_letter() {
    becomes(
        "{ config, pkgs, ... }:\n{\n  # why\n  services.k3s = {\n    token = \"VALUE\"; # the cluster's\n    role   = \"agent\";\n  };\n}\n",
        "{ config, pkgs, ... }:\n{\n  # why\n  services.k3s = {\n    tokenFile = config.sealift.secrets.a.path; # the cluster's\n    role   = \"agent\";\n  };\n}\n",
    );
    becomes(
        "{ config, lib, ... }: { services.k3s.token = lib.mkDefault ''VALUE''; }",
        "{ config, lib, ... }: { services.k3s.tokenFile = lib.mkDefault config.sealift.secrets.a.path; }",
    );
    becomes(
        "{ config, ... }: { services.grafana.settings.smtp.password = \"VALUE\"; }",
        "{ config, ... }: { services.grafana.settings.smtp.password = \"$__file{${config.sealift.secrets.a.path}}\"; }",
    );
    becomes(
        "{ config, ... }: { services.borgbackup.jobs.x.encryption.passphrase = \"VALUE\"; }",
        "{ config, ... }: { services.borgbackup.jobs.x.encryption.passCommand = \"cat ${config.sealift.secrets.a.path}\"; }",
    );
    becomes(
        "{ config, ... }: { networking.wg-quick.interfaces.w.peers = [ { \"presharedKey\" = \"VALUE\"; } ]; }",
        "{ config, ... }: { networking.wg-quick.interfaces.w.peers = [ { presharedKeyFile = config.sealift.secrets.a.path; } ]; }",
    );
}

#[test]
fn a_binding_that_is_used_once_goes() {
    becomes(
        "{ config, ... }:\nlet\n  port = 1;\n  pw = \"VALUE\";\nin\n{ services.k3s.token = pw; x = port; }",
        "{ config, ... }:\nlet\n  port = 1;\nin\n{ services.k3s.tokenFile = config.sealift.secrets.a.path; x = port; }",
    );
    becomes(
        "{ config, ... }: let pw = (\"VALUE\"); in { services.k3s.token = pw; }",
        "{ config, ... }: { services.k3s.tokenFile = config.sealift.secrets.a.path; }",
    );
    becomes(
        "{ config, ... }:\nlet\n  # why\n  pw = \"VALUE\";\nin\n{ services.k3s.token = pw; }",
        "{ config, ... }:\nlet\n  # why\nin\n{ services.k3s.tokenFile = config.sealift.secrets.a.path; }",
    );
    becomes(
        "{ config, ... }:\nlet\n  pw = \"VALUE\";\nin\n{ services.k3s.token = pw; }",
        "{ config, ... }:\n{ services.k3s.tokenFile = config.sealift.secrets.a.path; }",
    );
    refused(
        "{ config, ... }: let pw = \"VALUE\"; in { services.k3s.token = pw; x = pw; }",
        "used more than once: lines 1, 1",
    );
    refused(
        "{ config, ... }: let s.pw = \"VALUE\"; p = s; in { services.k3s.token = \"VALUE\"; services.k3s.tokenFile = p; }",
        "beside it already",
    );
    refused("{ config, ... }: let s = { pw = \"VALUE\"; }; in { services.k3s.token = s.pw; }", "bound elsewhere");
    refused("{ config, ... }: let a = \"VALUE\"; b = a; in { services.k3s.token = b; }", "by way of `a`");
    refused("{ config, ... }: let token = \"VALUE\"; in { services.k3s = { inherit token; }; }", "`inherit`");
}

#[test]
fn config_is_brought_into_scope_or_it_is_refused() {
    let new = "services.k3s.tokenFile = config.sealift.secrets.a.path;";
    for (before, after) in [
        ("{ pkgs, ... }: { X }", "{ config, pkgs, ... }: { X }"),
        ("{pkgs, ...}: { X }", "{config, pkgs, ...}: { X }"),
        ("{\n  pkgs,\n  ...\n}:\n{ X }", "{\n  config,\n  pkgs,\n  ...\n}:\n{ X }"),
        ("{ ... }: { X }", "{ config, ... }: { X }"),
        ("# a module\n{ X }", "# a module\n{ config, ... }:\n{ X }"),
        ("let a = 1; in { X }", "{ config, ... }:\nlet a = 1; in { X }"),
        ("{ imports = [ ({ pkgs, ... }: { X }) ]; }", "{ imports = [ ({ config, pkgs, ... }: { X }) ]; }"),
        (
            "{ lib, ... }: { a = lib.mapAttrs (n: v: { X }) { }; }",
            "{ config, lib, ... }: { a = lib.mapAttrs (n: v: { X }) { }; }",
        ),
        ("args@{ pkgs, ... }: { X }", "args@{ config, pkgs, ... }: { X }"),
    ] {
        becomes(&before.replace('X', "services.k3s.token = \"VALUE\";"), &after.replace('X', new));
    }
    for (text, why) in [
        ("{ outputs = { self, nixpkgs }: { m = { X }; }; }", "not in scope"),
        ("{ outputs = x: { m = { X }; }; }", "not in scope"),
        ("{ pkgs, ... }: let config = 1; in { X }", "bound again"),
        ("{ pkgs, ... }: rec { config.a = 1; X }", "bound again"),
        ("{ config, ... }: { users.users.a = { config, ... }: { X }; }", "another one"),
        ("{ config, ... }: { containers.a.config = { X }; }", "in a container"),
        ("{ }: { X }", "no arguments"),
        ("args: { X }", "not in scope"),
    ] {
        refused(&text.replace('X', "services.k3s.token = \"VALUE\";"), why);
    }
}

#[test]
fn names_are_quoted_where_nix_needs_it() {
    for (name, path) in [
        ("a", "config.sealift.secrets.a.path"),
        ("gitea-token_2", "config.sealift.secrets.gitea-token_2.path"),
        ("ssh-keys/jay", "config.sealift.secrets.\"ssh-keys/jay\".path"),
        ("a.b", "config.sealift.secrets.\"a.b\".path"),
        ("2fa", "config.sealift.secrets.\"2fa\".path"),
        ("or", "config.sealift.secrets.\"or\".path"),
    ] {
        assert_eq!(path_of(&name.parse().unwrap()), path);
    }
}

#[test]
fn what_is_shown_is_the_lines_that_change() {
    let shown = adopted("{ pkgs, ... }:\n{\n  services.k3s.token = \"VALUE\"; # VALUE\n  b = 1;\n}\n").unwrap().shown;
    assert_eq!(
        shown,
        [
            "-    1 { pkgs, ... }:",
            "+    1 { config, pkgs, ... }:",
            "-    3   services.k3s.token = \"…\"; # …",
            "+    3   services.k3s.tokenFile = config.sealift.secrets.a.path; # …",
        ]
    );
    let shown =
        adopted("{ config, ... }:\nlet\n  a = 1;\n  pw = \"VALUE\";\nin\n{ services.k3s.token = pw; }").unwrap().shown;
    assert_eq!(
        shown,
        [
            "-    4   pw = \"…\";",
            "-    6 { services.k3s.token = pw; }",
            "+    5 { services.k3s.tokenFile = config.sealift.secrets.a.path; }",
        ]
    );
}

#[test]
fn an_option_elsewhere_in_the_module_is_written_where_both_are() {
    // The entry is removed, and a new one is added to the set that contains both options.
    becomes(
        "{ config, ... }:\n{\n  services.forgejo = {\n    enable = true;\n    settings.mailer.PASSWD = \"VALUE\";\n  };\n}\n",
        "{ config, ... }:\n{\n  services.forgejo = {\n    enable = true;\n    secrets.mailer.PASSWD = config.sealift.secrets.a.path;\n  };\n}\n",
    );
    becomes(
        "{ config, ... }:\n{\n  services.forgejo = {\n    settings = {\n      mailer.ENABLED = true;\n      mailer.PASSWD = \"VALUE\";\n    };\n  };\n}\n",
        "{ config, ... }:\n{\n  services.forgejo = {\n    secrets.mailer.PASSWD = config.sealift.secrets.a.path;\n    settings = {\n      mailer.ENABLED = true;\n    };\n  };\n}\n",
    );
    // Through `mkIf`, keeping the condition.
    becomes(
        "{ config, lib, ... }: { services.syncthing = lib.mkIf true { settings.gui = { password = lib.mkDefault \"VALUE\"; }; }; }",
        "{ config, lib, ... }: { services.syncthing = lib.mkIf true { guiPasswordFile = lib.mkDefault config.sealift.secrets.a.path; settings.gui = { }; }; }",
    );
    // Into an existing set.
    becomes(
        "{ config, ... }:\n{\n  systemd.services.x = {\n    environment.API_TOKEN = \"VALUE\";\n    serviceConfig = {\n      Type = \"exec\";\n    };\n  };\n}\n",
        "{ config, ... }:\n{\n  systemd.services.x = {\n    serviceConfig = {\n      EnvironmentFile = config.sealift.secrets.a.path;\n      Type = \"exec\";\n    };\n  };\n}\n",
    );
    becomes(
        "{ config, ... }: { systemd.services.x.environment.API_TOKEN = \"VALUE\"; }",
        "{ config, ... }: { systemd.services.x.serviceConfig.EnvironmentFile = config.sealift.secrets.a.path; }",
    );
}

#[test]
fn a_list_gets_one_more_and_a_piece_of_configuration_is_included() {
    becomes(
        "{ config, ... }: { services.gotify.environment.API_TOKEN = \"VALUE\"; }",
        "{ config, ... }: { services.gotify.environmentFiles = [ config.sealift.secrets.a.path ]; }",
    );
    becomes(
        "{ config, ... }:\n{\n  services.gotify = {\n    environmentFiles = [ \"/run/a\" ];\n    environment.API_TOKEN = \"VALUE\";\n  };\n}\n",
        "{ config, ... }:\n{\n  services.gotify = {\n    environmentFiles = [ \"/run/a\" config.sealift.secrets.a.path ];\n  };\n}\n",
    );
    becomes(
        "{ config, ... }: { nix.settings.access-tokens = \"github.com=VALUE\"; }",
        "{ config, ... }: { nix.extraOptions = \"!include ${config.sealift.secrets.a.path}\"; }",
    );
    becomes(
        "{ config, ... }:\n{\n  nix.settings = {\n    cores = 2;\n    access-tokens = [ \"github.com=VALUE\" ];\n  };\n}\n",
        "{ config, ... }:\n{\n  nix.extraOptions = \"!include ${config.sealift.secrets.a.path}\";\n  nix.settings = {\n    cores = 2;\n  };\n}\n",
    );
}

#[test]
fn a_file_made_of_a_literal_becomes_the_delivered_one() {
    for call in ["pkgs.writeText \"x\" \"VALUE\"", "builtins.toFile \"x\" ''VALUE''"] {
        becomes(
            &format!("{{ config, pkgs, ... }}: {{ services.pgadmin.initialPasswordFile = {call}; }}"),
            "{ config, pkgs, ... }: { services.pgadmin.initialPasswordFile = config.sealift.secrets.a.path; }",
        );
    }
    becomes(
        "{ config, pkgs, ... }: { services.x.tokenFile = toString (pkgs.writeText \"x\" \"VALUE\"); }",
        "{ config, pkgs, ... }: { services.x.tokenFile = toString (config.sealift.secrets.a.path); }",
    );
}

#[test]
fn what_cannot_be_moved_is_answered_with_what_to_write() {
    let help = |text: &str| adopted(text).expect_err(text).advice().unwrap_or_default().to_owned();
    let taken = "{ config, ... }: { services.vaultwarden = { environmentFile = \"/run/x\"; config.ADMIN_TOKEN = \"VALUE\"; }; }";
    refused(taken, "environmentFile is given beside it already");
    assert!(help(taken).contains("`ADMIN_TOKEN=…`"), "{}", help(taken));
    let several = "{ config, ... }: { nix.settings.access-tokens = [ \"github.com=VALUE\" \"gitlab.com=VALUE\" ]; }";
    refused(several, "one of several in a list");
    let exact = "nix.extraOptions = \"!include ${config.sealift.secrets.a.path}\";";
    assert!(help(several).contains(exact), "{}", help(several));
    let given = "{ config, ... }: { nix.extraOptions = \"a = b\"; nix.settings.access-tokens = \"github.com=VALUE\"; }";
    refused(given, "extraOptions is given already");
    assert!(help(given).contains(exact), "{}", help(given));
    let closed =
        "{ config, x, ... }: { systemd.services.a = { serviceConfig = x; environment.API_TOKEN = \"VALUE\"; }; }";
    refused(closed, "serviceConfig is not written as a plain set");
    assert!(help(closed).contains("systemd.services.a.serviceConfig.EnvironmentFile = config"), "{}", help(closed));
}
