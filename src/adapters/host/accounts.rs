//! The users and groups of a host, read from its own files. The C library's name service would ask the machine that
//! runs this, not the system below `--root`.

use std::collections::HashMap;
use std::path::Path;

use crate::adapters::fs::files;
use crate::domain::name::UnixName;
use crate::error::{Error, Result};

const LIMIT: u64 = 16 << 20;

#[derive(Debug)]
pub struct Accounts {
    users: Table,
    groups: Table,
}

/// The entries of one file by name. An invalid line affects only the names in it; an unreadable file affects every
/// name.
#[derive(Debug)]
struct Table {
    shown: String,
    rows: Result<HashMap<String, Row>, String>,
}

#[derive(Debug)]
struct Row {
    /// `None` if the field is not a number.
    number: Option<u32>,
    /// The user's primary gid.
    group: Option<u32>,
    home: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: String,
    /// The user's primary gid.
    pub group: u32,
}

impl Home {
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the home is the ancestor directory of `path` that remains when `left` is removed from its end.
    pub fn is(&self, path: &str, left: &str) -> bool {
        path.strip_suffix(left).is_some_and(|above| above.trim_end_matches('/') == self.path)
    }
}

impl Accounts {
    /// Reads `etc/passwd` and `etc/group` below `root`. A missing file counts as empty.
    pub fn read(root: &Path) -> Self {
        Self { users: Table::read(root, "etc/passwd"), groups: Table::read(root, "etc/group") }
    }

    /// The uid of a user; `None` if there is no such user.
    pub fn user(&self, name: &UnixName) -> Result<Option<u32>> {
        self.users.number(name)
    }

    /// The gid of a group; `None` if there is no such group.
    pub fn group(&self, name: &UnixName) -> Result<Option<u32>> {
        self.groups.number(name)
    }

    /// The sorted names of regular users: those with a uid in the range for people.
    pub fn people(&self) -> Vec<UnixName> {
        let rows = self.users.rows.iter().flatten();
        let people = rows.filter(|(_, row)| row.number.is_some_and(|number| (1000..60_000).contains(&number)));
        let mut names: Vec<UnixName> = people.filter_map(|(name, _)| name.parse().ok()).collect();
        names.sort();
        names
    }

    pub fn home(&self, name: &UnixName) -> Option<Home> {
        let row = self.users.rows.as_ref().ok()?.get(name.as_str())?;
        let path = row.home.as_deref()?.trim_end_matches('/');
        path.starts_with('/').then(|| Some(Home { path: path.to_owned(), group: row.group? })).flatten()
    }
}

/// The uid of a user of this machine.
pub fn number_of(user: &str) -> Option<u32> {
    Accounts::read(Path::new("/")).user(&user.parse().ok()?).ok()?
}

impl Table {
    fn read(root: &Path, file: &str) -> Self {
        let shown = root.join(file).display().to_string();
        let bytes = files::directory(root).and_then(|root| files::read_in_root(root, file, LIMIT, &shown));
        let bytes = bytes.map(Option::unwrap_or_default);
        let mut rows = HashMap::new();
        for line in bytes.iter().flat_map(|bytes| bytes.split(|b| *b == b'\n')) {
            let mut fields = line.split(|b| *b == b':').map(|field| std::str::from_utf8(field).ok());
            // Name, password, uid or gid, primary gid, comment, home. Names are ASCII only.
            let Some(name) = fields.next().flatten() else { continue };
            let mut after = |skipped: usize| fields.nth(skipped).flatten();
            let number = |text: Option<&str>| text.filter(|text| is_digits(text)).and_then(|text| text.parse().ok());
            let row = Row { number: number(after(1)), group: number(after(0)), home: after(1).map(str::to_owned) };
            // The first valid line of a name counts, as in the C library.
            let known = rows.entry(name.to_owned()).or_insert_with(|| Row { number: None, group: None, home: None });
            if known.number.is_none() {
                *known = row;
            }
        }
        Self { shown, rows: bytes.map(|_| rows).map_err(|error| error.in_one_line()) }
    }

    fn number(&self, name: &UnixName) -> Result<Option<u32>> {
        let number = match (name.as_str(), &self.rows) {
            ("root", _) => Some(0),
            // fchown takes the highest number as "leave unchanged".
            (digits, _) if is_digits(digits) => digits.parse().ok().filter(|number| *number != u32::MAX),
            (name, Ok(rows)) => match rows.get(name) {
                Some(row) => Some(row.number.filter(|number| *number != u32::MAX).ok_or_else(|| {
                    Error::failed(format!("the line of {name} in {} has no valid number", self.shown))
                })?),
                None => None,
            },
            (name, Err(why)) => {
                return Err(Error::failed(format!("the user {name} cannot be looked up")).because(why.clone()));
            }
        };
        Ok(number)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[derive(Debug)]
pub struct LocalUser {
    /// The name, or the uid if it has none.
    pub user: String,
    pub groups: Vec<String>,
}

impl LocalUser {
    /// Reads the accounts of this machine.
    pub fn get() -> Self {
        let accounts = Accounts::read(Path::new("/"));
        let uid = rustix::process::geteuid().as_raw();
        let mut gids: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).collect();
        gids.push(rustix::process::getegid().as_raw());
        let users = accounts.users.rows.iter().flatten();
        let groups = accounts.groups.rows.into_iter().flatten();
        let is = |row: &Row, own: &[u32]| row.number.is_some_and(|number| own.contains(&number));
        Self {
            user: users
                .filter(|(_, row)| is(row, &[uid]))
                .map(|(name, _)| name.clone())
                .next()
                .unwrap_or_else(|| uid.to_string()),
            groups: groups.filter(|(_, row)| is(row, &gids)).map(|(name, _)| name).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(passwd: &[u8], group: &[u8]) -> Accounts {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        files::create(&root.path().join("etc/passwd"), passwd, 0o644).unwrap();
        files::create(&root.path().join("etc/group"), group, 0o644).unwrap();
        Accounts::read(root.path())
    }

    fn name(text: &str) -> UnixName {
        text.parse().unwrap()
    }

    #[test]
    fn names_numbers_and_nobody() {
        let none = Accounts::read(Path::new("/nowhere/at/all"));
        let user = |accounts: &Accounts, text: &str| accounts.user(&name(text)).unwrap();
        let empty = accounts(b"", b"");
        assert_eq!((user(&empty, "root"), user(&empty, "7"), user(&empty, "jay")), (Some(0), Some(7), None));
        assert_eq!(user(&empty, "4294967295"), None);
        // An unreadable file affects every name that it could contain.
        assert_eq!((user(&none, "root"), user(&none, "7"), none.user(&name("jay")).is_err()), (Some(0), Some(7), true));
        let some = accounts(b"jay:x:1000:100::/home/jay:/bin/sh\n:::\njay:x:0:0:\n", b"users:x:100:jay\n");
        assert_eq!((user(&some, "jay"), some.group(&name("users")).unwrap()), (Some(1000), Some(100)));
        assert_eq!(some.group(&name("jay")).unwrap(), None);
        assert_eq!(some.home(&name("jay")), Some(Home { path: "/home/jay".to_owned(), group: 100 }));
    }

    #[test]
    fn a_line_that_means_nothing_costs_only_whom_it_names() {
        let long = [b"long:x:7:7:".as_slice(), &b"x".repeat(1 << 20), b":/:/bin/sh\n"].concat();
        for odd in [
            b"m\xfcller:x:1001:100::/home/m:/bin/sh\n".as_slice(),
            b"gecos:x:1001:100:M\xfcller:/home/\xfc:/bin/sh\n",
            b"\0\0:\0\n",
            b"\n\r\n#\n+::::::\n",
            b"short\nshorter:x\n::::::::::::::::\n",
            &long,
        ] {
            let odd = [odd, b"jay:x:1000:100::/home/jay:/bin/sh\r"].concat();
            let accounts = accounts(&odd, &odd);
            assert_eq!(accounts.user(&name("jay")).unwrap(), Some(1000));
            assert_eq!(accounts.group(&name("jay")).unwrap(), Some(1000));
        }
        for bad in ["", "x", "-1", "+1", " 1", "1\0", "4294967295", "4294967296", "99999999999999999999"] {
            let accounts = accounts(format!("jay:x:{bad}:100::/:\nmia:x:8:8::/:\n").as_bytes(), b"jay:x\n");
            let why = accounts.user(&name("jay")).unwrap_err();
            assert!(
                why.message().starts_with("the line of jay in ") && why.message().contains("etc/passwd"),
                "{why:?}"
            );
            assert!(accounts.group(&name("jay")).is_err());
            assert_eq!(accounts.user(&name("mia")).unwrap(), Some(8));
        }
        // As in the C library, a valid line wins over an invalid one.
        assert_eq!(accounts(b"jay:x:x:\njay:x:5:\njay:x:6:\n", b"").user(&name("jay")).unwrap(), Some(5));
    }
}
