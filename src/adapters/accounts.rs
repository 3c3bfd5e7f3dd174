//! The users and groups of a host, from its own files: never through the C library's name service, which would ask the
//! machine that runs this instead of the one below `--root`.

use std::collections::HashMap;
use std::path::Path;

use super::files;
use crate::error::{Error, Result};
use crate::fleet::name::UnixName;

/// The largest passwd or group file that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// The numbers of users and groups.
#[derive(Debug, Default)]
pub struct Accounts {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Accounts {
    /// Reads `etc/passwd` and `etc/group` below `root`. A file that is not there names nobody.
    ///
    /// # Errors
    /// When one is there and cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        Ok(Self { users: table(root, "etc/passwd")?, groups: table(root, "etc/group")? })
    }

    /// The number of a user; none for one that does not exist.
    pub fn user(&self, name: &UnixName) -> Option<u32> {
        number(name, &self.users)
    }

    /// The number of a group.
    pub fn group(&self, name: &UnixName) -> Option<u32> {
        number(name, &self.groups)
    }
}

/// The number of a user of this machine.
pub fn number_of(user: &str) -> Option<u32> {
    Accounts::read(Path::new("/")).ok()?.user(&user.parse().ok()?)
}

/// Whether a name means the same everywhere, and needs no file: root, or a number.
pub fn is_plain(name: &UnixName) -> bool {
    name.as_str() == "root" || name.as_str().starts_with(|c: char| c.is_ascii_digit())
}

fn number(name: &UnixName, table: &HashMap<String, u32>) -> Option<u32> {
    let number = match name.as_str() {
        "root" => Some(0),
        digits if is_plain(name) => digits.parse().ok(),
        word => table.get(word).copied(),
    };
    // To fchown the highest number means "leave it as it is".
    number.filter(|number| *number != u32::MAX)
}

fn table(root: &Path, file: &str) -> Result<HashMap<String, u32>> {
    let Some(bytes) = files::read_in_root(root, file, LIMIT)? else { return Ok(HashMap::new()) };
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::failed(format!("{} is not UTF-8 text", root.join(file).display())))?;
    let mut table = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), _, Some(Ok(number))) = (fields.next(), fields.next(), fields.next().map(str::parse)) {
            // The first line of a name counts, as it does for the C library.
            table.entry(name.to_owned()).or_insert(number);
        }
    }
    Ok(table)
}

/// Whoever runs this program.
#[derive(Debug)]
pub struct Caller {
    /// The name, or the number where it has none.
    pub user: String,
    /// The names of the groups.
    pub groups: Vec<String>,
}

impl Caller {
    /// Looks in the machine's own files.
    pub fn get() -> Self {
        let accounts = Accounts::read(Path::new("/")).unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        let mut gids: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).collect();
        gids.push(rustix::process::getegid().as_raw());
        let name = accounts.users.iter().find(|(_, number)| **number == uid).map(|(name, _)| name.clone());
        Self {
            user: name.unwrap_or_else(|| uid.to_string()),
            groups: accounts.groups.into_iter().filter(|(_, gid)| gids.contains(gid)).map(|(name, _)| name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_nobody() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let name = |text: &str| text.parse::<UnixName>().unwrap();
        let none = Accounts::read(root.path()).unwrap();
        assert_eq!(
            (none.user(&name("root")), none.user(&name("7")), none.user(&name("jay"))),
            (Some(0), Some(7), None)
        );
        files::create(
            &root.path().join("etc/passwd"),
            b"jay:x:1000:100::/home/jay:/bin/sh\n:::\njay:x:0:0:\nbad:x:y:\n",
            0o644,
        )
        .unwrap();
        files::create(&root.path().join("etc/group"), b"users:x:100:jay\n", 0o644).unwrap();
        let accounts = Accounts::read(root.path()).unwrap();
        assert_eq!((accounts.user(&name("jay")), accounts.group(&name("users"))), (Some(1000), Some(100)));
        assert_eq!((accounts.user(&name("bad")), accounts.group(&name("jay"))), (None, None));
        assert_eq!(accounts.user(&name("4294967295")), None);
    }
}
