//! Chance that depends on nothing but the seed: the same question gets the same answer, whatever was asked before.
//!
//! So a schedule with a fault taken away goes on as before as far as it can, which is what makes shrinking work.

/// A source of decisions.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The decisions about one thing: a seed, what it is about, and its number.
    pub fn about(seed: u64, what: &str, number: u64) -> Self {
        // FNV-1a: short names, no secrets
        let name = what
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut chance = Self { state: seed ^ name.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        chance.draw();
        chance
    }

    /// 64 bits (splitmix64).
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.draw() % end as u64) as usize }
    }

    /// Whether something happens that does so in `parts` of a thousand.
    pub fn permille(&mut self, parts: u64) -> bool {
        self.draw() % 1000 < parts
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_gets_the_same_answer_and_another_one_another() {
        let ask = |seed, what, number| Chance::about(seed, what, number).draw();
        assert_eq!(ask(1, "call", 2), ask(1, "call", 2));
        assert_ne!(ask(1, "call", 2), ask(1, "call", 3));
        assert_ne!(ask(1, "call", 2), ask(2, "call", 2));
        assert_ne!(ask(1, "call", 2), ask(1, "reply", 2));
    }
}
