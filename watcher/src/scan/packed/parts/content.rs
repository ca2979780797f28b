//! The number that stands for the lines of a part.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A number that stands for some bytes, by a key that changes with each run: whoever writes the file cannot know two
/// contents with the same one. Four independent lanes, since the file is read at the speed of memory.
pub(super) fn content(bytes: &[u8]) -> u64 {
    static KEYS: LazyLock<[u64; 8]> = LazyLock::new(|| {
        let random = RandomState::new();
        std::array::from_fn(|index| random.hash_one(index) | 1)
    });
    let fold = |left: u64, right: u64| {
        let product = u128::from(left) * u128::from(right);
        let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
        u64::try_from(high ^ low).expect("64 bits")
    };
    let keys = &*KEYS;
    let mut lanes = [keys[0], keys[1], keys[2], keys[3]];
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut add = |block: &[u8; 32]| {
        let (words, _) = block.as_chunks::<8>();
        for (lane, (word, key)) in lanes.iter_mut().zip(words.iter().zip(&keys[4..])) {
            // Added and not only multiplied: a word that makes the product vanish does not forget those before.
            *lane = fold(*lane ^ u64::from_le_bytes(*word), *key).wrapping_add(lane.rotate_left(29));
        }
    };
    blocks.iter().for_each(&mut add);
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    lanes.into_iter().fold(fold(length ^ keys[4], keys[5]), |sum, lane| fold(sum ^ lane, keys[6]) ^ lane)
}
