//! The first thing that is asked of a host: its login shell is told to run a program that greets. What stands around the
//! greeting is what the shell prints by itself, which nix cannot bear; and nix is looked for where it would be started.

use crate::error::{Error, Result};

const BEGINS: &str = "sealift-begins\n";
const ENDS: &str = "sealift-ends\n";
/// More than this is no greeting, in bytes.
pub const LIMIT: u64 = 1 << 20;
/// How much is shown of what a login shell prints, in characters.
const QUOTED: usize = 200;
/// How long the name of a shell may be.
const SHELL: usize = 32;

/// What greets. One line without `!`, which csh would read in quotes too.
pub const SCRIPT: &str = "echo sealift-begins; echo \"shell ${SHELL##*/}\"; \
for f in .bashrc .zshenv .config/fish/config.fish .cshrc .tcshrc .ssh/rc; do test -e \"$HOME/$f\" && echo \"file $f\"; done; \
if command -v nix-daemon >/dev/null; then echo nix; else \
for f in /run/current-system/sw/bin/nix-daemon /nix/var/nix/profiles/default/bin/nix-daemon; do test -x $f && echo \"nix $f\" && break; done; fi; \
echo sealift-ends";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// What the login shell printed besides.
    printed: String,
    /// The login shell, without its folder.
    shell: String,
    /// Files in the user's home that login shells read.
    files: Vec<String>,
    /// Where the program is that nix is reached by.
    nix: Nix,
}

/// Where the program is that nix is reached by.
#[derive(Debug, Default, PartialEq, Eq)]
enum Nix {
    #[default]
    Nowhere,
    InPath,
    At(String),
}

impl Greeting {
    /// Reads it; none where no program ran.
    pub fn read(text: &str) -> Option<Self> {
        let (before, rest) = text.split_once(BEGINS)?;
        let (told, after) = rest.split_once(ENDS)?;
        let printed = [before.trim(), after.trim()].join(" ").trim().chars().take(QUOTED).collect();
        let mut greeting = Self { printed, ..Self::default() };
        for line in told.lines() {
            match line.split_once(' ') {
                // It is shown in advice, which a person follows.
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

    /// What nix is told where its program is not in the PATH of ssh.
    pub fn program(&self) -> String {
        match &self.nix {
            Nix::At(path) => format!("?remote-program={path}"),
            Nix::InPath | Nix::Nowhere => String::new(),
        }
    }

    /// Whether nix can copy through that login shell.
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

    /// Where a person looks for what prints, and how to keep it from that.
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
        // A host may tell anything.
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
