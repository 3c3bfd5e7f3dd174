//! A number with the word for what is counted, as it is said.

/// `1 host`, `2 hosts`.
pub fn counted(number: usize, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        let said = [0, 1, 2].map(|number| counted(number, "sealed file"));
        assert_eq!(said, ["0 sealed files", "1 sealed file", "2 sealed files"]);
    }
}
