//! Writes the corpus that docs/scan.md measures on: `cargo run --release --example scan-corpus -- DIR [ROUNDS]`. Prints the
//! number of planted and of clean files. DIR must not be there yet.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a tool for measuring, not part of the program")]

#[path = "../tests/scan/corpus_files.rs"]
mod files;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next().map(std::path::PathBuf::from) else {
        return Err(std::io::Error::other("usage: scan-corpus DIR [ROUNDS]"));
    };
    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    std::fs::create_dir(&directory)?;
    let (mut planted, mut clean) = (0, 0);
    for file in files::all(rounds) {
        let path = directory.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(&directory))?;
        std::fs::write(path, file.text)?;
        if file.rule.is_some() { planted += 1 } else { clean += 1 }
    }
    println!("{planted} planted, {clean} clean");
    Ok(())
}
