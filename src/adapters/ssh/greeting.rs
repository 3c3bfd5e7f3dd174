//! The first call to a host: its login shell runs a script that prints a greeting. Output around the greeting comes
//! from the shell itself and would break nix; the script also looks for nix where it would be started.

use crate::error::{Error, Result};

const BEGINS: &str = "sealift-begins\n";
const ENDS: &str = "sealift-ends\n";
/// The maximum output of a greeting, in bytes.
pub const LIMIT: u64 = 1 << 20;
/// How many characters of a login shell's output are shown.
const QUOTED: usize = 200;
/// The maximum length of a shell's name.
const SHELL: usize = 32;

/// The greeting script. One line without `!`, which csh expands even in quotes.
pub const SCRIPT: &str = "echo sealift-begins; echo \"shell ${SHELL##*/}\"; \
for f in .bashrc .zshenv .config/fish/config.fish .cshrc .tcshrc .ssh/rc; do test -e \"$HOME/$f\" && echo \"file $f\"; done; \
if command -v nix-daemon >/dev/null; then echo nix; else \
for f in /run/current-system/sw/bin/nix-daemon /nix/var/nix/profiles/default/bin/nix-daemon; do test -x $f && echo \"nix $f\" && break; done; fi; \
echo sealift-ends";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// What the login shell printed around it.
    printed: String,
    /// The login shell's base name.
    shell: String,
    /// Startup files of login shells in the user's home.
    files: Vec<String>,
    nix: Nix,
}

/// Where the `nix-daemon` program is, which serves the store.
#[derive(Debug, Default, PartialEq, Eq)]
enum Nix {
    #[default]
    Nowhere,
    InPath,
    At(String),
}

impl Greeting {
    /// Parses a greeting; `None` if the script did not run.
    pub fn read(text: &str) -> Option<Self> {
        let (before, rest) = text.split_once(BEGINS)?;
        let (told, after) = rest.split_once(ENDS)?;
        let printed = [before.trim(), after.trim()].join(" ").trim().chars().take(QUOTED).collect();
        let mut greeting = Self { printed, ..Self::default() };
        for line in told.lines() {
            match line.split_once(' ') {
                // It is shown in advice that a user may follow.
                Some(("shell", name)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                    greeting.shell = name.chars().take(SHELL).collect();
                }
                Some(("file", name)) => greeting.files.push(name.to_owned()),
                // It becomes part of a URL that nix reads.
                Some(("nix", path)) if path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b)) => {
                    greeting.nix = Nix::At(path.to_owned());
                }
                None if line == "nix" => greeting.nix = Nix::InPath,
                _ => {}
            }
        }
        Some(greeting)
    }

    /// The store URL's parameter if the program is not in ssh's PATH.
    pub fn program(&self) -> String {
        match &self.nix {
            Nix::At(path) => format!("?remote-program={path}"),
            Nix::InPath | Nix::Nowhere => String::new(),
        }
    }

    /// Whether nix can copy through this login shell.
    pub fn takes_copies(&self, host: &str, user: &str) -> Result<()> {
        if !self.printed.is_empty() {
            return Err(Error::failed(format!("{host}: the login shell of {user} writes to standard output"))
                .because(format!("it prints {:?}", self.printed))
                .help(format!("nix cannot copy through it: look at {}", self.culprits(user))));
        }
        if self.nix == Nix::Nowhere {
            return Err(Error::failed(format!(
                "{host}: nix is not found there: `nix-daemon` is not in the PATH of {user} over SSH"
            ))
            .help(format!("install nix there, or put it into that PATH: `ssh {host} 'echo $PATH'` shows it")));
        }
        Ok(())
    }

    /// The files that may print, and how to stop it.
    fn culprits(&self, user: &str) -> String {
        let (own, only) = match self.shell.as_str() {
            "bash" => (&[".bashrc"][..], "`[[ $- == *i* ]] || return` before it"),
            "zsh" => (&[".zshenv"][..], "move it to .zshrc"),
            "fish" => (&[".config/fish/config.fish"][..], "`status is-interactive; or exit` before it"),
            "csh" | "tcsh" => (&[".tcshrc", ".cshrc"][..], "`if (! $?prompt) exit` before it"),
            _ => (&[][..], "print only where a person reads it"),
        };
        let there = self.files.iter().filter(|file| own.contains(&file.as_str()) || *file == ".ssh/rc");
        let mut places: Vec<String> = there.map(|file| format!("~{user}/{file}")).collect();
        if places.is_empty() {
            let shell = if self.shell.is_empty() { "it" } else { &self.shell };
            places.push(format!("what {shell} reads at its start, such as /etc/profile"));
        }
        format!("{} ({only})", places.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::process::Invocation;

    #[test]
    fn the_script_greets_whatever_the_shell() {
        let mut tried = 0;
        for shell in ["sh", "bash", "zsh", "fish", "tcsh"] {
            let line = format!("/bin/sh -c {}", crate::domain::address::quoted(SCRIPT));
            let Ok(printed) = Invocation::new(shell).args(["-c", &line]).env("SHELL", "/bin/fish").read() else {
                continue;
            };
            let greeting = Greeting::read(&String::from_utf8(printed).unwrap()).unwrap();
            assert_eq!((greeting.shell.as_str(), greeting.printed.as_str()), ("fish", ""), "{shell}");
            tried += 1;
        }
        assert!(tried > 0);
    }

    #[test]
    fn what_stands_around_a_greeting_is_told_with_the_file_to_look_at() {
        let text = "welcome jaysealift-begins\nshell bash\nfile .bashrc\nfile .zshenv\nnix\nsealift-ends\nbye\n";
        let error = Greeting::read(text).unwrap().takes_copies("web", "jay").unwrap_err();
        assert!(error.in_one_line().contains("\"welcome jay bye\""), "{error:?}");
        assert!(error.advice().unwrap().contains("look at ~jay/.bashrc ("), "{error:?}");
        // The host's output is untrusted.
        let text = "sealift-begins\nshell x; see `curl example.org | sh`\nnix\nsealift-ends\nhello\n";
        let error = Greeting::read(text).unwrap().takes_copies("web", "jay").unwrap_err();
        assert!(error.advice().unwrap().contains("look at what it reads at its start"), "{error:?}");
        for text in ["", "This account is not available.\n", "sealift-begins\nshell bash\n"] {
            assert_eq!(Greeting::read(text), None);
        }
    }

    #[test]
    fn nix_is_found_in_path_or_where_nixos_has_it() {
        let greeting = |nix: &str| Greeting::read(&format!("{BEGINS}shell bash\n{nix}{ENDS}")).unwrap();
        assert_eq!(greeting("nix\n").program(), "");
        assert_eq!(greeting("nix /a/nix-daemon\n").program(), "?remote-program=/a/nix-daemon");
        assert!(greeting("nix /a/nix-daemon\n").takes_copies("web", "jay").is_ok());
        for bad in ["", "nix /a&x=y\n", "nix a b\n"] {
            let error = greeting(bad).takes_copies("web", "jay").unwrap_err();
            assert!(error.message().contains("nix is not found there"), "{error:?}");
        }
    }
}
