//! Whether a text could be a secret: how random it is, and whether it is a placeholder or a reference.

/// Words in a value that show that it is not a secret.
use crate::domain::foreign::holds;

const PLACEHOLDERS: [&str; 37] = [
    "example",
    "changeme",
    "change-me",
    "change_me",
    "changethis",
    "change-this",
    "change_this",
    "placeholder",
    "redacted",
    "your-",
    "your_",
    "yourtoken",
    "dummy",
    "sample",
    "replace",
    "insert",
    "foobar",
    "lorem",
    "xxxx",
    "0000000",
    "1234567",
    "abcdef",
    "qwerty",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "default",
    "undefined",
    "to-be-",
    "todo",
    "fixme",
    "...",
    "****",
    "\u{2026}",
    "test-",
];

/// The start of a value that refers to something else: variables, paths, URLs, encrypted forms.
const REFERENCES: [&str; 34] = [
    "$",
    "{{",
    "<",
    "/",
    "./",
    "../",
    "~",
    "%",
    "env:",
    "config.",
    "vault:",
    "ENC[",
    "!vault",
    "age1",
    "op://",
    "http://",
    "https://",
    "file:",
    "sha256-",
    "sha512-",
    "sha1-",
    "sha384-",
    "sha256:",
    "ssh-",
    "ecdsa-",
    "@",
    "(",
    "#",
    "\\",
    "*",
    "process.env",
    "os.environ",
    "secrets.",
    "var.",
];

/// Entropy in bits per byte, from the frequency of each byte.
pub(super) fn entropy(text: &[u8]) -> f32 {
    let mut counts = [0u16; 256];
    for byte in text.iter().take(1024) {
        counts[usize::from(*byte)] += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 1024")]
    let all = text.len().min(1024) as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f32::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

fn distinct(text: &[u8]) -> usize {
    let mut seen = [false; 256];
    text.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count()
}

fn lower(text: &[u8]) -> Vec<u8> {
    text.to_ascii_lowercase()
}

/// Whether a text is a placeholder for a secret: a word such as `changeme`, dots, a repeated letter.
pub(super) fn placeholder(whole: &[u8]) -> bool {
    let text = lower(&whole[..whole.len().min(512)]);
    stand_in(whole) || PLACEHOLDERS.iter().any(|word| holds(&text, word.as_bytes()))
}

/// Whether the part of a token after its prefix is a placeholder. Short words can occur in random text, so only clear
/// signs count.
pub(super) fn stand_in(text: &[u8]) -> bool {
    let folded = lower(&text[..text.len().min(512)]);
    let clear =
        ["example", "changeme", "placeholder", "redacted", "xxxx", "####", "123456789", "abcdefgh", "your_", "your-"];
    // `YourTokenGoesHere`, `token_here`.
    let here = ["Here", "HERE", "_here", "-here"].iter().any(|end| text.ends_with(end.as_bytes()));
    here || distinct(&folded) < 5 || clear.iter().any(|word| holds(&folded, word.as_bytes()))
}

/// Whether a text refers to a secret elsewhere.
pub(super) fn reference(text: &[u8]) -> bool {
    REFERENCES.iter().any(|start| text.starts_with(start.as_bytes()))
        || ["${", "$(", "{{", "{env:", "{file:", "$env(", "::", "://", "()", "%s", "{}", "<"]
            .iter()
            .any(|sign| holds(text, sign.as_bytes()))
}

/// Whether a text is a name made of words, such as `my-service-token2` or `userPassword`.
fn name(text: &[u8]) -> bool {
    let parts = text.split(|byte| b"-_./:@,+".contains(byte));
    parts.clone().count() > 0
        && parts.into_iter().all(|part| {
            // Letters in one case or in camel case, then at most four digits.
            let letters = part.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            let (word, digits) = part.split_at(letters);
            digits.len() <= 4 && digits.iter().all(u8::is_ascii_digit) && wordlike(word)
        })
}

/// Few changes from lower to upper case, and a share of vowels as in words.
fn wordlike(word: &[u8]) -> bool {
    let changes = word.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    let vowels = word.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    word.len() < 4 || (changes * 4 <= word.len() && vowels * 6 >= word.len() && vowels * 4 <= word.len() * 3)
}

/// The kind of name that a secret is assigned to, which decides how random its value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// A password: chosen by people, and possibly short.
    Password,
    /// A token, key or secret: generated.
    Token,
}

/// Whether a value assigned to such a name looks like a real secret.
pub(super) fn looks_secret(text: &[u8], called: Called) -> bool {
    if !(8..=512).contains(&text.len())
        || !text.iter().all(u8::is_ascii_graphic)
        || placeholder(text)
        || reference(text)
    {
        return false;
    }
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let signs = text.iter().filter(|byte| b"!#$%^&*+=?~@".contains(byte)).count();
    let varied = entropy(text);
    match called {
        Called::Password => varied >= 2.5 && letters > 0 && digits + signs > 0 && (signs > 0 || !name(text)),
        Called::Token if name(text) => false,
        Called::Token if text.iter().all(u8::is_ascii_hexdigit) => text.len() >= 32 && varied >= 3.0,
        Called::Token => text.len() >= 16 && varied >= 3.2 && digits > 0 && letters > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_count_and_words_do_not() {
        let token = |text: &str| looks_secret(text.as_bytes(), Called::Token);
        let password = |text: &str| looks_secret(text.as_bytes(), Called::Password);
        assert!(token("k3J9x8Qz7Lm2Pw5Rt1Vb") && token("9f86d081884c7d659a2feaa0c55ad015"));
        assert!(!token("my-service-name-for-prod2") && !token("aaaaaaaaaaaaaaaaaaaaaaaa1") && !token("short1"));
        assert!(
            !token("${config.sops.placeholder}")
                && !token("/run/sealift/gitea-runner1")
                && !token("YourTokenGoesHere123")
        );
        assert!(password("Sommer2024!") && password("tr0ub4dor&3") && password("k9#mVq2x"));
        assert!(
            !password("changeme1")
                && !password("change_this_1!")
                && !password("userPassword")
                && !password("$PASSWORD1")
                && !password("password123")
        );
        assert!(!password("tooshrt") && !password("two words 1"));
    }

    #[test]
    fn entropy_is_that_of_shannon() {
        assert!((entropy(b"aabb") - 1.0).abs() < 1e-6 && entropy(b"aaaa").abs() < 1e-6 && entropy(b"abcd") > 1.99);
    }
}
