//! A key made by a plugin: runs the plugin's own key generation, and verifies that a value sealed to the key can be
//! opened.

use std::path::Path;
use std::sync::Arc;

use age::{Decryptor, Encryptor};

use crate::adapters::age::Sealer;
use crate::adapters::age::armor::plain;
use crate::adapters::age::identity::{Identities, Plugins};
use crate::adapters::process::Invocation;
use crate::adapters::prompt::Ask;
use crate::adapters::signals;
use crate::adapters::terminal::Terminal;
use crate::domain::guarded::guarded;
use crate::domain::secret::plaintext::Plaintext;
use crate::domain::secret::plugin_identity::Printed;
use crate::error::{Error, Result};

/// The maximum output of a plugin, in bytes.
const LIMIT: u64 = 64 << 10;
/// The value sealed and opened as a test.
const PROBE: &[u8] = b"sealift: a key is tried";

/// Runs the key generation of the plugin `name`, the program at `program`. It talks to the user itself.
pub fn generate(name: &str, program: &Path, arguments: &[String], ask: &Arc<dyn Ask>) -> Result<Printed> {
    // Its labels are parsed, so they must not be translated.
    let call = Invocation::new(program).args(arguments).without_env("LANGUAGE").at_most(LIMIT);
    let said = |line: &str| ask.tell(&format!("age-plugin-{name}: {line}"));
    let output = call.asking(Terminal::open().map(|terminal| terminal.streams()).transpose()?, said)?;
    signals::check()?;
    if !output.ended.success() {
        return Err(Error::failed(format!("age-plugin-{name} made no key: {}", output.ended)));
    }
    Printed::read(&output.stdout, name)
}

/// Seals a value to the key and opens it again, as with every secret.
pub fn prove(made: &Printed, label: &str, plugins: &Plugins, ask: &Arc<dyn Ask>) -> Result<()> {
    let failed = |why: String| Error::failed("the new key does not open what is sealed to it").because(why);
    let sealer = Sealer::new([&made.recipient], plugins, ask)?;
    let recipients = sealer.wrappers.values().map(|wrapper| &**wrapper as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|error| failed(plain(&error)))?;
    let mut file = Vec::new();
    let sealed = encryptor.wrap_output(&mut file).and_then(|mut writer| {
        std::io::Write::write_all(&mut writer, PROBE)?;
        writer.finish().map(drop)
    });
    sealed.map_err(|error| failed(error.to_string()))?;

    let content = Plaintext::concat(&[made.content().as_bytes()]);
    let identities = Identities::from_content(content, label, plugins, ask)?;
    let opened = guarded(|| {
        let decryptor = Decryptor::new_buffered(&file[..])?;
        decryptor.decrypt(identities.iter().map(|identity| &*identity.key as &dyn age::Identity))
    });
    let reader = opened.ok_or_else(|| failed("it is damaged".to_owned()))?.map_err(|error| failed(plain(&error)))?;
    let read = Plaintext::read(reader, PROBE.len(), PROBE.len()).map_err(|error| failed(error.to_string()))?;
    if read.same_as(&Plaintext::concat(&[PROBE])) { Ok(()) } else { Err(failed("it is another value".to_owned())) }
}
