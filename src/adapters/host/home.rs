//! home-manager homes that are not part of a system: a profile of the user's own, and what its activation package
//! links. Everything runs as the user, who controls the content of a home; root only reads symlinks.

use std::path::Path;

use crate::adapters::fs::root::Root;
use crate::adapters::host::accounts::Accounts;
use crate::adapters::host::{closure, profile};
use crate::adapters::process::{Ended, Invocation};
use crate::domain::deploy::home::{HomeGeneration, State};
use crate::domain::name::UnixName;
use crate::error::{Error, Kind, Result};

/// The PATH of a user's programs, after the user's own profiles.
const PROGRAMS: &str =
    "/run/wrappers/bin:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin:/usr/bin:/usr/sbin:/bin:/sbin";
/// The time limit of an activation, in seconds: that of the unit of home-manager's NixOS module, plus a reserve.
const LONGEST: &str = "600";
/// The maximum number of users checked: a passwd file may have any length.
const USERS: usize = 200;

struct Account {
    user: UnixName,
    uid: u32,
    gid: u32,
    home: String,
}

impl Account {
    fn of(root: &Root, user: &UnixName) -> Result<Self> {
        let accounts = Accounts::read(root.path());
        let missing = || Error::failed(format!("there is no user {user} with a home on this machine"));
        let uid = accounts.user(user)?.ok_or_else(missing)?;
        let home = accounts.home(user).ok_or_else(missing)?;
        Ok(Self { user: user.clone(), uid, gid: home.group, home: home.path().to_owned() })
    }

    /// The directory of the profile, chosen as home-manager does; `None` if it does not exist yet.
    fn profiles(&self, root: &Root) -> Option<String> {
        let own = format!("{}/.local/state/nix/profiles", self.home);
        let shared = format!("/nix/var/nix/profiles/per-user/{}", self.user);
        [own, shared].into_iter().find(|place| root.is_directory(place))
    }

    /// The symlink to the last activated home.
    fn rooted(&self) -> String {
        format!("{}/.local/state/home-manager/gcroots/current-home", self.home)
    }

    fn profile(&self, root: &Root) -> Result<String> {
        let folder = self.profiles(root).ok_or_else(|| {
            Error::failed(format!("nix has no profiles for {}", self.user))
                .help(format!("`nix-env -q` as {} creates it", self.user))
        })?;
        Ok(format!("{folder}/home-manager"))
    }

    /// A call as this user, without our environment.
    fn call(&self, root: &Root, words: &[&str]) -> Invocation {
        let Self { user, uid, gid, home } = self;
        let path = format!("{home}/.nix-profile/bin:/etc/profiles/per-user/{user}/bin:{PROGRAMS}");
        // Our own umask is for what root writes.
        let call = Invocation::new("/bin/sh").args(["-c", "umask 022; exec \"$@\"", "sh"]).args(words);
        let call = call.with_user(*uid, *gid).in_dir(Path::new("/")).env("HOME", home).env("PATH", path);
        let call = call.env("USER", user.as_str()).env("LOGNAME", user.as_str());
        let runtime = format!("/run/user/{uid}");
        if !root.is_directory(&runtime) {
            return call;
        }
        let bus = format!("unix:path={runtime}/bus");
        call.env("DBUS_SESSION_BUS_ADDRESS", bus).env("XDG_RUNTIME_DIR", runtime)
    }
}

pub fn state(root: &Root, user: &UnixName) -> State {
    let account = Account::of(root, user).ok();
    let folder = account.as_ref().and_then(|account| account.profiles(root));
    let profile = folder.map(|folder| format!("{folder}/home-manager"));
    let generation = |one: profile::SystemGeneration| HomeGeneration {
        generation: one.number,
        date: one.made.map(|made| made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        package: one.leads_to,
    };
    let generations = profile.iter().flat_map(|profile| profile::generations_of(root, profile)).map(generation);
    let rooted = account.as_ref().map(Account::rooted);
    // The last activated home is the active one, whatever the profile says.
    let active = rooted.iter().chain(&profile).find_map(|link| root.store_path(link));
    State {
        user: user.clone(),
        active,
        generation: profile.as_ref().and_then(|profile| profile::current_of(root, profile)),
        generations: generations.collect(),
    }
}

/// The homes of all users that have one, as far as the current user can read them.
pub fn states(root: &Root) -> Vec<State> {
    let users = Accounts::read(root.path()).people();
    let states = users.into_iter().take(USERS).map(|user| state(root, &user));
    states.filter(|state| state.active.is_some() || !state.generations.is_empty()).collect()
}

/// Activates a home without changing the profile. `line` gets its output.
pub fn activate(root: &Root, user: &UnixName, package: &str, line: impl FnMut(&str)) -> Result<()> {
    let account = Account::of(root, user)?;
    let program = format!("{package}/activate");
    if !closure::is_store_path(package) || !root.is_program(&program) {
        return Err(Error::failed(format!("{package} is not an activation package of home-manager")));
    }
    // Both create directories that the activation expects, as `home-manager switch` does; their output does not matter.
    for words in [&["nix-build", "--quiet", "--expr", "{}", "--no-out-link"][..], &["nix-env", "-q"]] {
        account.call(root, words).run()?;
    }
    // Older packages set the profile themselves and do not know this option.
    let new = root.exists(&format!("{package}/gen-version"));
    let mut words = vec!["timeout", "-k", "10", LONGEST, &program];
    words.extend(if new { &["--driver-version", "1"][..] } else { &[] });
    match account.call(root, &words).logged(line)? {
        Ended::Code(0) => Ok(()),
        Ended::Code(124) => {
            Err(Error::new(Kind::RolledBack, format!("the home of {user} was not activated within {LONGEST} s")))
        }
        ended => Err(Error::new(Kind::RolledBack, format!("the home of {user} was not activated: {ended}"))),
    }
}

/// Records a package as the active home, as its activation does at its end, so that its links are removed when another
/// is activated.
pub fn take_as_active(root: &Root, user: &UnixName, package: &str) -> Result<()> {
    let account = Account::of(root, user)?;
    let link = account.rooted();
    if root.store_path(&link).is_none() {
        return Ok(());
    }
    account.call(root, &["nix-store", "--realise", package, "--add-root", &link]).read().map(drop)
}

/// Makes a package the current generation of the user's profile, or switches to an existing generation.
pub fn set(root: &Root, user: &UnixName, package: &str, generation: Option<u64>) -> Result<()> {
    let account = Account::of(root, user)?;
    let profile = account.profile(root)?;
    if root.store_path(&profile).as_deref() == Some(package) {
        return Ok(());
    }
    let number = generation.map(|number| number.to_string());
    let words: &[&str] = match &number {
        Some(number) => &["--switch-generation", number],
        None => &["--set", package],
    };
    account.call(root, &[&["nix-env", "--profile", &profile], words].concat()).read().map(drop)
}

/// Restores the profile: the previous current generation, and no new ones.
pub fn restore(root: &Root, saved: &State) -> Result<()> {
    let now = state(root, &saved.user);
    let known = |number: &u64| saved.generations.iter().any(|known| known.generation == *number);
    let new: Vec<u64> = now.generations.iter().map(|one| one.generation).filter(|number| !known(number)).collect();
    if now.generation == saved.generation && new.is_empty() {
        return Ok(());
    }
    let account = Account::of(root, &saved.user)?;
    let profile = account.profile(root)?;
    let nix_env = |words: &[&str]| account.call(root, &[&["nix-env", "--profile", &profile], words].concat()).read();
    match saved.generation {
        Some(number) if now.generation != Some(number) => drop(nix_env(&["--switch-generation", &number.to_string()])?),
        Some(_) => {}
        // There was no profile before; nix-env cannot remove the current generation of a profile.
        None => drop(account.call(root, &["rm", "-f", "--", &profile]).read()?),
    }
    for number in new {
        account.call(root, &["rm", "-f", "--", &format!("{profile}-{number}-link")]).read()?;
    }
    Ok(())
}
