//! The number that stands for the lines of a part.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Words that are taken at once, each by a lane of its own: as many as the processor multiplies while one product is under
/// way.
const LANES: usize = 8;
const BLOCK_BYTES: usize = 8 * LANES;

/// A number that stands for some bytes, by a key that changes with each run: whoever writes the file cannot know two
/// contents with the same one.
pub(super) fn content(bytes: &[u8]) -> u64 {
    static KEYS: LazyLock<([u64; LANES], [u64; LANES])> = LazyLock::new(|| {
        let random = RandomState::new();
        let keys = |from| std::array::from_fn(|index| random.hash_one(from + index) | 1);
        (keys(0), keys(LANES))
    });
    let fold = |left: u64, right: u64| {
        let product = u128::from(left) * u128::from(right);
        let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
        u64::try_from(high ^ low).expect("64 bits")
    };
    let (mut lanes, keys) = *KEYS;
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let mut add = |block: &[u8; BLOCK_BYTES]| {
        let (words, _) = block.as_chunks::<8>();
        for (lane, (word, key)) in lanes.iter_mut().zip(words.iter().zip(&keys)) {
            // Added and not only multiplied: a word that makes the product vanish does not forget those before.
            *lane = fold(*lane ^ u64::from_le_bytes(*word), *key).wrapping_add(lane.rotate_left(29));
        }
    };
    blocks.iter().for_each(&mut add);
    let mut last = [0; BLOCK_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    lanes.into_iter().fold(fold(length ^ keys[0], keys[1]), |sum, lane| fold(sum ^ lane, keys[2]) ^ lane)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_byte_and_the_length_count() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let mut seen: BTreeSet<u64> = (0..=bytes.len()).map(|length| content(&bytes[..length])).collect();
        assert_eq!(seen.len(), bytes.len() + 1, "each length");
        // Zeroes fill the last block, so they are to be told from the end.
        let zeroes: BTreeSet<u64> = (0..200).map(|length| content(&[0; 200][..length])).collect();
        assert_eq!(zeroes.len(), 200);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(seen.insert(content(&other)), "byte {at}");
        }
    }
    /// Whoever writes the file may know this program, and not the key.
    #[test]
    fn the_number_of_a_part_is_another_in_each_process() {
        const ASKED: &str = "REFWATCH_TEST_NUMBER";
        let own = format!("number {:016x}", content(b"the same bytes"));
        if std::env::var_os(ASKED).is_some() {
            println!("{own}");
            return;
        }
        let (_, module) = module_path!().split_once("::").expect("in a crate");
        let name = format!("{module}::the_number_of_a_part_is_another_in_each_process");
        let mut again = std::process::Command::new(std::env::current_exe().expect("a program"));
        again.args(["--exact", "--nocapture", &name]).env(ASKED, "1");
        let output = again.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("number ") && !said.contains(&own), "{said}");
    }
}
