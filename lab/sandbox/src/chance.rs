//! Chance that a seed decides: the same seed, the same decisions in the same order.

/// A generator of random numbers. (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.)
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// One whose decisions this seed makes.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Another generator, whose decisions this one's seed makes too.
    pub fn fork(&mut self) -> Chance {
        Chance(self.number())
    }

    /// A number below this one, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number from the first on, below the second.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// Yes, with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        // 53 bits: as many as a double has.
        ((self.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.number(), 6_457_827_717_110_365_317);
        assert_eq!(chance.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_seed_decides_and_probabilities_hold() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..10_000).filter(|_| chance.happens(0.1)).count()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((900..1_100).contains(&draw(7)), "{}", draw(7));
    }
}
