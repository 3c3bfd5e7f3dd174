//! The few words that we say to a connection of ssh in the background, over its socket, in OpenSSH's own protocol
//! (PROTOCOL.mux): no program is started for them, and nobody's configuration is asked.

use std::io::{Error, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long it may take to answer: it is a process on this machine, and never busy for long.
const ANSWER: Duration = Duration::from_secs(5);
/// An answer is short.
const LONGEST: u32 = 64 << 10;

const HELLO: u32 = 1;
const VERSION: u32 = 4;
const CHECK: u32 = 0x1000_0004;
const TERMINATE: u32 = 0x1000_0005;
const ALIVE: u32 = 0x8000_0005;

/// Has it begin its idle time again: that it takes the call is enough.
pub fn keep_alive(socket: &Path) {
    // One that is gone is found out by the call that needs it.
    let _gone = UnixStream::connect(socket);
}

/// Whether it stands, as far as it knows itself.
pub fn is_alive(socket: &Path) -> bool {
    say(socket, CHECK).is_ok_and(|answer| answer == ALIVE)
}

/// Ends it, and waits until it is gone, which is its answer.
pub fn end(socket: &Path) {
    // One that is gone already, or does not listen, ends by itself.
    let _gone = say(socket, TERMINATE);
}

/// Says a word, and returns what kind of answer came.
fn say(socket: &Path, word: u32) -> Result<u32> {
    let mut line = UnixStream::connect(socket)?;
    line.set_read_timeout(Some(ANSWER))?;
    line.set_write_timeout(Some(ANSWER))?;
    let request = 0;
    let said = [8, HELLO, VERSION, 8, word, request].map(u32::to_be_bytes);
    line.write_all(said.as_flattened())?;
    let greeted = answer(&mut line)?;
    if greeted != HELLO {
        return Err(Error::other("it does not greet"));
    }
    answer(&mut line)
}

/// Reads one answer; its kind.
fn answer(line: &mut UnixStream) -> Result<u32> {
    let (mut length, mut kind) = ([0; 4], [0; 4]);
    line.read_exact(&mut length)?;
    line.read_exact(&mut kind)?;
    let rest = u32::from_be_bytes(length).saturating_sub(4);
    if rest > LONGEST {
        return Err(Error::other("its answer is too long"));
    }
    std::io::copy(&mut line.take(rest.into()), &mut std::io::sink())?;
    Ok(u32::from_be_bytes(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A connection that answers so.
    fn answering(numbers: &[u32]) -> bool {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut line, _) = listener.accept().unwrap();
                let mut said = [0; 24];
                line.read_exact(&mut said).unwrap();
                for number in numbers {
                    line.write_all(&number.to_be_bytes()).unwrap();
                }
            });
            is_alive(&path)
        })
    }

    #[test]
    fn only_the_right_answer_after_a_greeting_counts() {
        assert!(answering(&[8, HELLO, VERSION, 12, ALIVE, 0, 4711]));
        // Newer ones greet with more.
        assert!(answering(&[16, HELLO, VERSION, 0, 0, 12, ALIVE, 0, 4711]));
        for bad in [&[8, HELLO, VERSION, 8, 0x8000_0003, 0][..], &[12, ALIVE, 0, 4711], &[8, HELLO], &[u32::MAX, HELLO]]
        {
            assert!(!answering(bad), "{bad:?}");
        }
        assert!(!is_alive(Path::new("/nonexistent")));
    }
}
