//! The few requests that we send to a background connection of ssh over its socket, in OpenSSH's protocol
//! (PROTOCOL.mux), without starting a program or reading any configuration.

use std::io::{Error, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The time limit for an answer: a local process that is never busy for long.
const ANSWER: Duration = Duration::from_secs(5);
/// The maximum length of an answer, in bytes.
const LONGEST: u32 = 64 << 10;

const HELLO: u32 = 1;
const VERSION: u32 = 4;
const CHECK: u32 = 0x1000_0004;
const TERMINATE: u32 = 0x1000_0005;
const ALIVE: u32 = 0x8000_0005;

/// Restarts the connection's idle timer; connecting to the socket is enough.
pub fn keep_alive(socket: &Path) {
    // If the connection is gone, the next call finds out.
    let _gone = UnixStream::connect(socket);
}

/// Whether the connection is up, as far as its process knows.
pub fn is_alive(socket: &Path) -> bool {
    say(socket, CHECK).is_ok_and(|answer| answer == ALIVE)
}

/// Ends the connection and waits until it is gone, which it signals by closing the socket.
pub fn end(socket: &Path) {
    // If it is gone or does not answer, it ends by itself.
    let _gone = say(socket, TERMINATE);
}

/// Sends a request and returns the type of the answer.
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

/// Reads one answer and returns its type.
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

    /// Whether `is_alive` accepts a connection that answers with these numbers.
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
        // Newer versions send extensions in the greeting.
        assert!(answering(&[16, HELLO, VERSION, 0, 0, 12, ALIVE, 0, 4711]));
        for bad in [&[8, HELLO, VERSION, 8, 0x8000_0003, 0][..], &[12, ALIVE, 0, 4711], &[8, HELLO], &[u32::MAX, HELLO]]
        {
            assert!(!answering(bad), "{bad:?}");
        }
        assert!(!is_alive(Path::new("/nonexistent")));
    }
}
