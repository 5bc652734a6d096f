//! Passwords and their hashes.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// No password can be hashed here.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct HashError(#[from] argon2::password_hash::Error);

/// Argon2id with OWASP's parameters: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// The hash of a password, with a salt of its own, as a PHC string.
///
/// # Errors
/// When there is no memory for it.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash: argon2::password_hash::phc::PasswordHash = argon2().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether a password fits a hash. Takes about 20 ms and 19 MiB.
pub fn verify_password(password: &[u8], hash: &str) -> bool {
    PasswordVerifier::<str>::verify_password(&argon2(), password, hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() -> Result<(), HashError> {
        let hash = hash_password("correct horse")?;
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify_password(b"correct horse", &hash));
        assert!(!verify_password(b"correct horsf", &hash));
        assert!(!verify_password(b"", "not a hash"));
        Ok(())
    }
}
