//! User-visible output compared with files, so that changes appear in review: every help page (tests/help), the schema
//! (docs/recipients.schema.json), and the pictures of the documents (docs/pictures). `SNAPSHOTS=overwrite scripts/test
//! rust -- snapshots` rewrites them.

mod help;
mod pictures;
mod screen;

use std::path::{Path, PathBuf};

use snapbox::{Assert, Data};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a text with a file, or writes the file.
#[track_caller]
fn is_as_in(file: &Path, text: &str) {
    Assert::new().action_env("SNAPSHOTS").eq(Data::text(text), Data::read_from(file, None).raw());
}
