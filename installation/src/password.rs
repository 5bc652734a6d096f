//! Passwords that are made: long enough that nobody guesses them, and fit to be read out over the telephone.

use rand::Rng as _;

/// Digits and letters that sound and look different from each other: no 0 and o, no 1, i and l.
const LETTERS: &[u8; 31] = b"23456789abcdefghjkmnpqrstuvwxyz";

/// Groups, and letters in each.
const GROUPS: usize = 5;
const LETTERS_OF_A_GROUP: usize = 4;

/// A new password: 20 random letters (99 bits) in groups of four.
pub fn made_password() -> String {
    let mut random = rand::rng();
    let mut group = || -> String {
        (0..LETTERS_OF_A_GROUP).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
    };
    let groups: Vec<String> = (0..GROUPS).map(|_| group()).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_made_is_long_and_never_the_same() {
        let first = made_password();
        assert_eq!(first.len(), 24, "{first}");
        assert!(first.bytes().all(|byte| byte == b'-' || LETTERS.contains(&byte)), "{first}");
        assert_ne!(first, made_password());
    }
}
