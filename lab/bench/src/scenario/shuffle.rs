//! Orders that a seed decides, the same on every machine and in every version.

use sandbox::Chance;

/// Shuffles by Fisher–Yates. The bias of the remainder is far below anything to be seen at these lengths.
pub(super) fn shuffle<T>(chance: &mut Chance, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = chance.below(last as u64 + 1) as usize;
        items.swap(last, other);
    }
}
