//! Shell completion with the engine of clap_complete: the words of the command line, and the names of the fleet. Starts
//! no process and opens no key. If the fleet cannot be read, there are no names and no error, because this runs while
//! the user types.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{Error, Result, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use clap::{Arg, Command};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::adapters::repository::Fleet;
use crate::cli::environment;
use crate::domain::name::{AdminName, FileName, HostWord, SecretName};
use crate::domain::policy::Policy;
use crate::domain::secret::shape::SHAPES;
use crate::error::Kind;

/// The environment variable with which a shell requests completions; its value is the name of the shell. The printed
/// scripts set it.
pub const SHELL: &str = "SEALIFT_COMPLETE";

const SHELLS: [&dyn EnvCompleter; 5] = [&Bash, &Elvish, &Fish, &Powershell, &Zsh];

/// Returns the script that registers the completion in a shell.
pub fn script(shell: &str, command: &Command) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let name = command.get_name();
    of(shell)?.write_registration(SHELL, name, name, name, &mut script)?;
    if shell == "zsh" {
        // In fpath, the script is the body of the function's first call. Without this line the first key press would
        // only load it.
        writeln!(script, "if [[ $funcstack[1] == _{name} ]]; then _clap_dynamic_completer_{name}; fi")?;
    }
    Ok(script)
}

/// Answers the shell. The arguments are `--` and the words typed so far.
pub fn answer(shell: &OsStr, command: Command) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let asked = arguments.next().is_some_and(|first| first == "--");
    let Some(shell) = shell.to_str().and_then(|shell| of(shell).ok()).filter(|_| asked) else {
        // The variable was exported by mistake. No verb has run, so a script must see a failure.
        let what = format!("{SHELL} is set, which is only for shell completion. Unset it to run a verb");
        let _gone = clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{what}\n")).print();
        return ExitCode::from(Kind::Usage.code());
    };
    let words: Vec<OsString> = arguments.collect();
    let mut found = Vec::new();
    // Without completions nothing is printed. The same for a panic: its message would appear in the line being typed.
    std::panic::set_hook(Box::new(|_| {}));
    let complete = std::panic::AssertUnwindSafe(|| {
        // Options are offered only after the first `-` or if there is nothing else, because all of them would hide the
        // names.
        let options = words.last().is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
        let mut command = with_names(command, &Arc::new(names(fleet_of(&words))), options);
        shell.write_complete(&mut command, words, None, &mut found).is_ok()
    });
    if std::panic::catch_unwind(complete).unwrap_or(false) {
        let _gone = std::io::stdout().lock().write_all(&found);
    }
    ExitCode::SUCCESS
}

fn of(shell: &str) -> Result<&'static dyn EnvCompleter> {
    SHELLS.into_iter().find(|known| known.is(shell)).ok_or_else(|| Error::other("unknown shell"))
}

/// Returns the fleet's directory: from `--fleet` in the typed words, from the environment, or the working directory.
fn fleet_of(words: &[OsString]) -> PathBuf {
    let after = words.iter().position(|word| word == "--fleet").and_then(|at| words.get(at + 1)).map(PathBuf::from);
    let joined = || words.iter().find_map(|word| word.to_str()?.strip_prefix("--fleet=").map(PathBuf::from));
    let named = after.or_else(joined).or_else(|| environment::variable(environment::FLEET).map(PathBuf::from));
    // The shell passes the word as typed, with an unexpanded `~`.
    let named = named.map(|named| match (named.strip_prefix("~"), environment::variable("HOME")) {
        (Ok(below), Some(home)) => Path::new(&home).join(below),
        _ => named,
    });
    named.unwrap_or_else(environment::working_directory)
}

/// The names of a fleet, read once and only when needed.
type Names = LazyLock<Option<Policy>, Box<dyn FnOnce() -> Option<Policy> + Send>>;

fn names(directory: PathBuf) -> Names {
    LazyLock::new(Box::new(move || Fleet::glance(&directory)))
}

/// The kind of names that an argument accepts.
#[derive(Clone, Copy)]
enum Takes {
    Hosts,
    /// Also removed hosts.
    AllHosts,
    Selectors,
    Tags,
    Admins,
    Secrets,
    /// Secrets, and their per-host files.
    Files,
    /// All holders of a key.
    Readers,
}

impl Takes {
    /// Decides by the type of the argument, or by its name if the type is a string or the argument takes a new name.
    fn of(verb: &str, argument: &Arg) -> Option<Self> {
        let is = |type_of| argument.get_value_parser().type_id() == type_of;
        match (verb, argument.get_id().as_str()) {
            ("add" | "adopt", "name") | ("mv", "new") | ("init", "host") => None,
            ("who", "host") => Some(Self::AllHosts),
            ("who", "secret") => Some(Self::Files),
            ("seal" | "adopt", "hosts") | (_, "words") => Some(Self::Selectors),
            ("add", "tag") => Some(Self::Tags),
            ("rekey", "remove") | ("rotate", "exposed_to") => Some(Self::Readers),
            ("scan", "store") => Some(Self::Hosts),
            _ if is(TypeId::of::<HostWord>()) => Some(Self::Hosts),
            _ if is(TypeId::of::<AdminName>()) => Some(Self::Admins),
            _ if is(TypeId::of::<SecretName>()) => Some(Self::Secrets),
            _ if is(TypeId::of::<FileName>()) => Some(Self::Files),
            _ => None,
        }
    }

    fn names(self, policy: &Policy) -> Vec<String> {
        let hosts = policy.hosts.keys().map(ToString::to_string);
        let removed = policy.retired.keys().map(ToString::to_string);
        let secrets = policy.secrets.keys().map(ToString::to_string);
        let once = |names: BTreeSet<String>| names.into_iter().collect();
        match self {
            Self::Hosts => hosts.collect(),
            Self::AllHosts => hosts.chain(removed).collect(),
            Self::Selectors => policy.selector_words(),
            Self::Tags => once(policy.hosts.values().flat_map(|host| &host.tags).map(ToString::to_string).collect()),
            Self::Admins => policy.admins.keys().map(ToString::to_string).collect(),
            Self::Secrets => secrets.collect(),
            Self::Files => once(secrets.chain(policy.wanted().into_keys().map(|file| file.to_string())).collect()),
            Self::Readers => once(policy.holders().values().map(|holder| holder.name().to_owned()).collect()),
        }
    }

    /// Returns the flake's names of hosts, for arguments that accept hosts.
    fn more(self, policy: &Policy) -> Vec<String> {
        match self {
            Self::Hosts | Self::AllHosts | Self::Selectors => {
                policy.hosts.values().map(|host| host.configuration.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Adds the names of the fleet to the arguments of the definition. `options` says whether options are offered as well.
fn with_names(command: Command, names: &Arc<Names>, options: bool) -> Command {
    let verb = command.get_name().to_owned();
    let command = command.mut_args(|argument| {
        let argument = if argument.is_positional() || options { argument } else { argument.hide(true) };
        if let Some(takes) = Takes::of(&verb, &argument) {
            let names = Arc::clone(names);
            let candidates = move || -> Vec<CompletionCandidate> {
                let Some(policy) = LazyLock::force(&names) else { return Vec::new() };
                // A hidden candidate is offered only if no other matches.
                let more = takes.more(policy).into_iter().map(|name| CompletionCandidate::new(name).hide(true));
                takes.names(policy).into_iter().map(CompletionCandidate::new).chain(more).collect()
            };
            return argument.add(ArgValueCandidates::new(candidates));
        }
        if argument.get_id() == "shape" {
            let candidates = || SHAPES.iter().map(|(name, _)| CompletionCandidate::new(*name)).collect();
            return argument.add(ArgValueCandidates::new(candidates));
        }
        let is_path = argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        if is_path || argument.get_id() == "place" { argument.add(ArgValueCompleter::new(Paths)) } else { argument }
    });
    // The engine adds the help option by itself.
    let command = if options { command } else { command.disable_help_flag(true).disable_version_flag(true) };
    command.mut_subcommands(|verb| with_names(verb, names, options))
}

/// Completes only paths that are plain words. A repository may contain files from others, and bash inserts a name
/// unquoted: `$(…)` would run, and a line break would press Enter.
struct Paths;

impl ValueCompleter for Paths {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let plain = |c: char| c.is_alphanumeric() || "/._-+,@%:=".contains(c);
        let mut found = PathCompleter::any().complete(current);
        found.retain(|candidate| candidate.get_value().to_str().is_some_and(|path| path.chars().all(plain)));
        found
    }
}

/// bash. The script of clap_complete takes the words as split by readline, also at `@`, `=` and `:`, so a tag would be
/// completed as a host.
struct Bash;

/// Splits words only at blanks, and removes from each answer the part before readline's word.
const BASH: &str = r#"_NAME() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} word words
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=('')
    word=${words[${#words[@]}-1]}
    IFS=$'\n'
    COMPREPLY=($(VAR=bash NAME -- "${words[@]}" 2>/dev/null))
    [[ $word == *"$2" ]] && COMPREPLY=("${COMPREPLY[@]#"${word%"$2"}"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/=] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o bashdefault -o default -F _NAME NAME
"#;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(&self, var: &str, name: &str, _: &str, _: &str, to: &mut dyn Write) -> Result<()> {
        to.write_all(BASH.replace("NAME", name).replace("VAR", var).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        to: &mut dyn Write,
    ) -> Result<()> {
        let last = words.len().saturating_sub(1);
        for candidate in clap_complete::engine::complete(command, words, last, directory)? {
            writeln!(to, "{}", candidate.get_value().to_string_lossy())?;
        }
        Ok(())
    }
}
