//! What is given to a name that says what it is: `password = "…"`, `token: …`, `--api-key …`, and passwords in addresses.

use std::ops::Range;

use crate::domain::rule_info::{About, Weight};
use crate::domain::scan::charset::{Alphabet, Around, line, mentions, run};
use crate::domain::scan::entropy::{Called, looks_secret, placeholder, reference};
use crate::domain::scan::rule::{Find, Rule};

const WHY: &str = "anyone who reads the repository or the Nix store can use it";
const HELP: &str = "seal it (`sealift seal NAME`) and give the service a file to read; then give it a new value";

/// The longest value that is looked at.
const LONGEST: usize = 512;

/// The rules.
pub(super) static RULES: [Rule; 7] = [
    Rule {
        about: About {
            id: "gitea-token",
            what: "a Gitea or Forgejo token",
            why: WHY,
            help: "seal it (`sealift seal NAME`), use the option that takes a file, and revoke this one in Gitea",
            weight: Weight::High,
        },
        starts: &["token"],
        fold: true,
        find: Find::By(gitea),
        yes: ["GITEA_TOKEN=<h40>", "forgejo.token = \"<h40>\";"],
        no: ["gitea.commit = \"<h40>\";", "GITEA_TOKEN_FILE=/run/<h40>"],
    },
    Rule {
        about: About {
            id: "runner-registration-token",
            what: "a runner's registration token",
            why: "anyone who has it can register a runner, which then gets the jobs and their secrets",
            help: "use tokenFile with a sealed env file (`sealift seal NAME --shape env:TOKEN`), and reset the token in the forge",
            weight: Weight::High,
        },
        starts: &["token"],
        fold: true,
        find: Find::By(runner),
        yes: [
            "services.gitea-actions-runner.instances.main.token = \"<a40>\";",
            "act_runner register --no-interactive --token <a40>",
        ],
        no: [
            "gitea-actions-runner.instances.main.tokenFile = \"/run/sealift/runner\";",
            "runner.token = config.sealift.secrets.runner.path;",
        ],
    },
    Rule {
        about: About {
            id: "url-password",
            what: "a password in an address",
            why: WHY,
            help: "take it out of the address: use a password file or a credential helper, and change the password",
            weight: Weight::High,
        },
        starts: &["://"],
        fold: false,
        find: Find::By(address),
        yes: ["postgresql://app:<a20>@db.internal/app", "url = \"https://oauth2:<h40>@git.internal/x.git\""],
        no: ["https://user:password@db.internal/", "postgresql://app:${PASSWORD}@db.internal/app"],
    },
    Rule {
        about: About { id: "assigned-password", what: "a password", why: WHY, help: HELP, weight: Weight::Medium },
        starts: &["password", "passwd", "passphrase", "pass_word"],
        fold: true,
        find: Find::By(password),
        yes: ["smtp_password: Z7<a8>#k2", "smtp_password: '4q<a14>Y2'"],
        no: ["passwordFile = \"/run/sealift/x1\";", "password = \"changeme1\""],
    },
    Rule {
        about: About {
            id: "assigned-secret",
            what: "a secret or a token",
            why: WHY,
            help: HELP,
            weight: Weight::Medium,
        },
        starts: &[
            "token",
            "secret",
            "apikey",
            "api_key",
            "api-key",
            "authkey",
            "auth_key",
            "auth-key",
            "accesskey",
            "access_key",
            "access-key",
            "privatekey",
            "private_key",
            "private-key",
            "encryptionkey",
            "encryption_key",
            "credential",
            "cookie_key",
        ],
        fold: true,
        find: Find::By(secret),
        yes: ["apiKey = \"4q<a24>Y2\";", "\"client_secret\": \"4q<a30>Y2\","],
        no: ["tokenFile = \"/run/keys/4q<a24>\";", "secretName = \"my-secret-for-the-service\""],
    },
    Rule {
        about: About {
            id: "authorization-header",
            what: "a token in an Authorization header",
            why: WHY,
            help: HELP,
            weight: Weight::High,
        },
        starts: &["authorization"],
        fold: true,
        find: Find::By(header),
        yes: ["curl -H \"Authorization: token 4q<a30>Y2\" x", "\"Authorization\": \"Bearer 4q<a30>Y2\""],
        no: ["Authorization: Bearer $TOKEN", "Authorization: token your-token-goes-here-2"],
    },
    Rule {
        about: About {
            id: "netrc-password",
            what: "a password in the form of netrc",
            why: WHY,
            help: HELP,
            weight: Weight::High,
        },
        starts: &["login "],
        fold: false,
        find: Find::By(netrc),
        yes: [
            "machine git.internal login jay password 4q<a14>Y2",
            "machine git.internal<n>  login jay<n>  password 4q<a14>Y2",
        ],
        no: ["machine git.internal login jay password changeme", "the login page asks for a password at first"],
    },
];

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Endings of a name that make it the name of something else: `tokenFile`, `password_length`.
const OTHER: [&str; 48] = [
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "name",
    "type",
    "length",
    "policy",
    "command",
    "cmd",
    "expir",
    "ttl",
    "algorithm",
    "hint",
    "field",
    "label",
    "header",
    "prefix",
    "regex",
    "env",
    "var",
    "ref",
    "id",
    "hash",
    "eval",
    "program",
    "enable",
    "auth",
    "min",
    "max",
    "class",
    "input",
    "reset",
    "prompt",
    "required",
    "version",
    "format",
    "size",
    "count",
    "limit",
    "mode",
    "store",
    "manager",
    "endpoint",
    "scope",
    "user",
    "pub",
];

/// Whether what follows a keyword in its name still names a secret: nothing, a number, or a word that is not in `OTHER`.
fn still(rest: &[u8]) -> bool {
    let rest: Vec<u8> = rest.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let other = |word: &&str| rest.windows(word.len()).any(|window| window == word.as_bytes());
    rest.len() <= 24 && !OTHER.iter().any(other)
}

/// The value that is given to the name which has a keyword of `start` bytes at `at`: in quotes, or bare where that is usual.
pub(super) fn given(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let byte = |at: usize| text.get(at).copied();
    let mut here = at + start;
    let rest = text.get(here..)?.iter().take(32).take_while(|byte| is_word(**byte)).count();
    let ending = &text[here..here + rest];
    // `tokenizer` is no token: a further word begins with a capital letter, `_`, `-` or a digit.
    if ending
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() && text[at + start - 1].is_ascii_lowercase() && ending != b"s")
        || !still(ending)
    {
        return None;
    }
    here += rest;
    let name = text.get(at.saturating_sub(64)..at)?.iter().rev().take_while(|byte| is_word(**byte)).count();
    let option = text[at - name..at].starts_with(b"--");
    if let Some(b'"' | b'\'' | b'`') = byte(here) {
        here += 1;
    }
    let blank = |mut here: usize, most: usize, lines: bool| {
        let end = here + most;
        while here < end && byte(here).is_some_and(|byte| byte == b' ' || byte == b'\t' || (lines && byte == b'\n')) {
            here += 1;
        }
        here
    };
    let before = here;
    here = blank(here, 16, false);
    let spaced = here > before;
    let signs = text.get(here..)?.iter().take(3).take_while(|byte| b"=:>?|".contains(*byte)).count();
    if signs == 0 && !(option && spaced) {
        return None;
    }
    let colon = byte(here) == Some(b':');
    here += signs;
    let tight = here;
    here = blank(here, 24, true);
    quoted(text, here).or_else(|| {
        // Without quotes: in configuration, `key=value` and `key: value`; and after an option anywhere.
        let usual = option || (around.bare && (colon || tight == here || spaced));
        let same_line = !text[tight..here].contains(&b'\n');
        (usual && same_line).then(|| bare(text, here)).flatten()
    })
}

/// A text in quotes, without them: of one line, at most so long.
fn quoted(text: &[u8], at: usize) -> Option<Range<usize>> {
    // `\"` is a quote in a text that is itself in quotes.
    let escaped = text.get(at) == Some(&b'\\');
    let at = at + usize::from(escaped);
    let quote = *text.get(at).filter(|byte| b"\"'`".contains(byte))?;
    let start = at + if quote == b'\'' && text.get(at + 1) == Some(&b'\'') { 2 } else { 1 };
    let rest = text.get(start..text.len().min(start + LONGEST + 2))?;
    let end = rest.iter().position(|byte| *byte == quote || *byte == b'\n')?;
    let end = end - usize::from(escaped && end > 0 && rest[end - 1] == b'\\');
    (rest[end] == quote || escaped).then_some(start..start + end)
}

fn bare(text: &[u8], at: usize) -> Option<Range<usize>> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`;,#()[]{}<>&|".contains(byte);
    let rest = text.get(at..text.len().min(at + LONGEST + 1))?;
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    // What calls or looks up something is code; a name before the sign is all that such code has.
    let word = |byte: &u8| byte.is_ascii_alphabetic() || b"_.$".contains(byte);
    let code =
        rest.get(end).is_some_and(|byte| *byte == b'<' || (b"([{".contains(byte) && rest[..end].iter().all(word)));
    (end > 0 && end <= LONGEST && !code && rest[0] != b'-').then_some(at..at + end)
}

fn password(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let value = with_signs(around, &value).unwrap_or(value);
    looks_secret(&around.bytes[value.clone()], Called::Password).then_some(value)
}

/// A bare password to its end: of the signs that end other bare values, some are in passwords.
fn with_signs(around: Around<'_>, value: &Range<usize>) -> Option<Range<usize>> {
    let text = around.bytes;
    let bare = around.bare
        && value.start.checked_sub(1).and_then(|before| text.get(before)).is_none_or(|byte| !b"\"'`".contains(byte));
    let signs = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'`\\<>$".contains(byte);
    let rest = text.get(value.end..text.len().min(value.start + LONGEST)).filter(|_| bare)?;
    let more = rest.iter().take_while(signs).count();
    let more = more - rest[..more].iter().rev().take_while(|byte| b",;)]}|&".contains(byte)).count();
    // The next entry of a list: `password=x,uid=1000`, `a=1&b=2`.
    let list = rest[..more].iter().any(|byte| b"=:".contains(byte));
    let ends = rest.get(more).is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'`,;)]}|&".contains(byte));
    (more > 0 && ends && !list).then(|| value.start..value.end + more)
}

/// `Authorization: token …`, whatever is around it.
fn header(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let from = at + start;
    let skip = |from: usize, bytes: &[u8]| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().take(8).take_while(|byte| bytes.contains(byte)).count()
    };
    let sign = skip(from, b"\"'` ]\\");
    let scheme = skip(sign, b":=, \"'`\\");
    if !text.get(sign..scheme)?.iter().any(|byte| b":=,".contains(byte)) {
        return None;
    }
    let kind = text.get(scheme..)?.iter().take(12).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let known = [&b"token"[..], b"bearer"].iter().any(|known| text[scheme..scheme + kind].eq_ignore_ascii_case(known));
    let begin = skip(scheme + kind, b" =\"'");
    let length = run(text, begin, Alphabet::Dotted, LONGEST);
    let value = begin..begin + length;
    (known && begin > scheme + kind && looks_secret(text.get(value.clone())?, Called::Token)).then_some(value)
}

fn secret(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    looks_secret(&around.bytes[value.clone()], Called::Token).then_some(value)
}

fn gitea(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let value = given(around, at, start)?;
    let made = value.len() == 40
        && text[value.clone()].iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    let line = line(text, at, 200);
    (made && !placeholder(&text[value.clone()]) && (mentions(line, "gitea") || mentions(line, "forgejo")))
        .then_some(value)
}

fn runner(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let value = given(around, at, start)?;
    let line = line(around.bytes, at, 200);
    let told = ["runner", "registration"].iter().any(|word| mentions(line, word));
    (told && looks_secret(&around.bytes[value.clone()], Called::Token)).then_some(value)
}

/// `scheme://user:password@host`.
fn address(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    at.checked_sub(1).filter(|before| text[*before].is_ascii_alphanumeric())?;
    let rest = text.get(at + start..text.len().min(at + start + 300))?;
    let end =
        rest.iter().position(|byte| byte.is_ascii_whitespace() || b"/\"'`<>,;)]".contains(byte)).unwrap_or(rest.len());
    let credentials = rest[..end].iter().rposition(|byte| *byte == b'@')?;
    let colon = rest[..credentials].iter().position(|byte| *byte == b':')?;
    let password = &rest[colon + 1..credentials];
    let host = &rest[credentials + 1..end];
    let known = [&b"postgres"[..], b"admin", b"root", b"guest", b"user", b"pass", b"pwd", b"test"];
    let real = (6..=200).contains(&password.len())
        && password.iter().all(u8::is_ascii_graphic)
        && !placeholder(password)
        && !reference(password)
        && !password.contains(&b'$')
        && !known.contains(&password)
        && host.first().is_some_and(u8::is_ascii_alphanumeric)
        && !mentions(host, "example.");
    real.then_some(at + start + colon + 1..at + start + credentials)
}

fn netrc(around: Around<'_>, at: usize, start: usize) -> Option<Range<usize>> {
    let text = around.bytes;
    let machine = text.get(at.saturating_sub(200)..at)?;
    let end = text.len().min(at + start + 300);
    // The next word from a place on.
    let word = |from: usize| {
        let blank = text.get(from..end)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let begin = from + blank;
        let length = text.get(begin..end)?.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
        (length > 0).then_some(begin..begin + length)
    };
    let user = word(at + start)?;
    let keyword = word(user.end)?;
    let value = word(keyword.end)?;
    let told = mentions(machine, "machine ") && text[keyword] == *b"password";
    (told && looks_secret(&text[value.clone()], Called::Password)).then_some(value)
}
