//! `edit`: decrypts a value, opens it in the user's editor in memory, and seals the result as the next value. An
//! unchanged, empty or misshapen value is not sealed.

use serde::Serialize;

use crate::adapters::editor::{Editor, Surroundings, scratch};
use crate::adapters::repository::Fleet;
use crate::adapters::{age, signals};
use crate::commands::secrets::rename::unadopted;
use crate::commands::secrets::seal::{find, fitting};
use crate::commands::secrets::show::unknown;
use crate::commands::writer::{Sealed, Writer, warn_of_past_date};
use crate::commands::{Changes, Session};
use crate::domain::name::FileName;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::shape::Shape;
use crate::error::{Error, Result};

/// A value that is to be edited, as it is sealed now.
pub struct Chosen {
    file: FileName,
    shape: Shape,
    before: Vec<u8>,
}

/// With what it is edited.
pub struct Request {
    pub editor: Editor,
    /// The environment of the editor: where temporary files may be, the helper program and the locale.
    pub around: Surroundings,
    /// Apply the fix that the shape check offers.
    pub fix: bool,
    /// The size limit of the value, in bytes.
    pub limit: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// The file as it is sealed now; none if nothing changed.
    pub sealed: Option<Sealed>,
}

/// Finds what a name, a secret's or that of one host's file of it, stands for.
pub fn choose(session: &Session, file: FileName) -> Result<Chosen> {
    let (name, host) = find(&session.fleet.policy, &file).ok_or_else(|| unknown(session, &file))?;
    let secret = &session.fleet.policy.secrets[name.as_str()];
    if secret.per_host && host.is_none() {
        return Err(unknown(session, &file));
    }
    let before = session.fleet.sealed(&file)?.ok_or_else(|| unknown(session, &file))?;
    if age::envelope_of(&before).is_some_and(|envelope| envelope.seal.is_none()) {
        return Err(unadopted(&file));
    }
    Ok(Chosen { shape: secret.shape.clone(), file, before })
}

pub fn run(session: &mut Session, chosen: &Chosen, request: &Request) -> Result<Report> {
    let Chosen { file, before, .. } = chosen;
    let identities = session.identities()?;
    let original = age::open(before, file, &identities)?.value;
    if request.editor.is_unknown() {
        session.note(format!(
            "what {} itself keeps elsewhere, such as backups and undo files, sealift cannot see",
            request.editor.name()
        ));
    }
    let Some(value) = edited(session, chosen, request, &original)? else { return Ok(Report { sealed: None }) };

    let (git, journal) = session.lock()?;
    // Editing takes time: the policy as it is now applies.
    session.fleet = Fleet::open(&session.fleet.root)?;
    if session.fleet.sealed(file)?.as_ref() != Some(before)
        && !session
            .talk
            .confirm(&format!("{} was changed by someone else meanwhile. Seal your text in its place?", file.path()))?
    {
        return Err(Error::failed(format!(
            "{} was changed by someone else meanwhile; your text is not sealed",
            file.path()
        ))
        .help("edit it again"));
    }
    let wanted = session.fleet.policy.wanted();
    let wanted = wanted.get(file).ok_or_else(|| unknown(session, file))?;
    let mut changes = Changes::default();
    let mut writer = Writer::new(session, std::slice::from_ref(wanted))?;
    writer.new_value(wanted, &value, None, &mut changes)?;
    let sealed = writer.finish().pop();
    warn_of_past_date(session, std::slice::from_ref(wanted));
    session.commit(&git, &journal, &changes)?;
    Ok(Report { sealed })
}

/// Returns the new value, or none if it is unchanged. Offers to edit a value that cannot be sealed again.
fn edited(session: &Session, chosen: &Chosen, request: &Request, original: &Plaintext) -> Result<Option<Plaintext>> {
    let name = file_name(&chosen.file, &chosen.shape);
    let mut again: Option<Plaintext> = None;
    loop {
        signals::check()?;
        let left = scratch::edit(
            again.as_ref().unwrap_or(original),
            &name,
            &request.editor,
            &request.around,
            request.limit.max(original.len() + 1),
            || saved_elsewhere(session, &request.editor.name()),
        )?;
        if !left.ended.success() {
            return Err(Error::failed(format!("{} failed ({}); nothing changed", request.editor.name(), left.ended)));
        }
        let value = left
            .value
            .ok_or_else(|| Error::failed(format!("{} removed the file; nothing changed", request.editor.name())))?;
        if unchanged(original, &value) {
            session.note("nothing changed");
            return Ok(None);
        }
        let copy = value.expose(|bytes| Plaintext::concat(&[bytes]));
        match fitting(value, &chosen.shape, request.fix, session) {
            Ok(value) if unchanged(original, &value) => {
                session.note("nothing changed");
                return Ok(None);
            }
            Ok(value) => {
                if value.expose(|bytes| bytes.ends_with(b"\n")) && !original.expose(|bytes| bytes.ends_with(b"\n")) {
                    session.note("the value ends in a newline now, which it did not before");
                }
                return Ok(Some(value));
            }
            Err(error) => {
                session.warn(error.message());
                if !session.talk.confirm("Edit it again? Otherwise nothing is changed.")? {
                    return Err(error);
                }
                again = Some(copy);
            }
        }
    }
}

/// Asks whether the text is saved, after an editor that returned at once and may have passed the file to another
/// window.
fn saved_elsewhere(session: &Session, editor: &str) -> Result<()> {
    session.note(format!(
        "{editor} returned and left the file as it was. If the file is open in another window, save it there first"
    ));
    while !session.talk.confirm("Take the file as it is now?")? {
        if !session.talk.confirm("Keep waiting? Otherwise nothing is changed.")? {
            return Err(Error::failed(format!("{editor} returned and left the file as it was; nothing changed")).help(
                "an editor that hands the file to a running one has to wait for it: EDITOR='code --wait', EDITOR='nvr --remote-wait'",
            ));
        }
    }
    Ok(())
}

/// Whether the value is unchanged. A final newline that some editors add is no change.
fn unchanged(before: &Plaintext, after: &Plaintext) -> bool {
    before.expose(|before| {
        after.expose(|after| after == before || (!before.ends_with(b"\n") && after.strip_suffix(b"\n") == Some(before)))
    })
}

/// Returns the file name for the editor, which may derive the language from it.
fn file_name(file: &FileName, shape: &Shape) -> String {
    let name = file.as_str().rsplit('/').next().unwrap_or_default();
    let suffix = shape.suffix();
    if name.ends_with(suffix) { name.to_owned() } else { format!("{name}{suffix}") }
}
