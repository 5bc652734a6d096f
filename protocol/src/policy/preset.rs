//! Policies compiled in.

use super::Policy;

/// Their names.
pub(super) const NAMES: &[&str] = &["shop"];

pub(super) fn preset(name: &str) -> Option<Policy> {
    let text = match name {
        "shop" => include_str!("shop.toml"),
        _ => return None,
    };
    Policy::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_sound_and_bears_its_name() {
        for name in NAMES {
            assert_eq!(preset(name).map(|policy| policy.name().to_owned()).as_deref(), Some(*name));
        }
        assert!(preset("sohp").is_none());
    }
}
