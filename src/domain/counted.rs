//! A number with the singular or plural of a word.

use std::fmt::Display;

/// `1 host`, `2 hosts`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(number: N, word: &str) -> String {
    if number == N::from(1) { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        let said = [0_usize, 1, 2].map(|number| counted(number, "sealed file"));
        assert_eq!(said, ["0 sealed files", "1 sealed file", "2 sealed files"]);
    }
}
