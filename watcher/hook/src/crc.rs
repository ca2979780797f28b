//! CRC-32 as in IEEE 802.3, gzip and zip: eight bytes a step.

/// The polynomial, lowest bit first.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[k][b]`: what the byte `b` does to the checksum once `k` further bytes have passed.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte as usize] = sum;
        byte += 1;
    }
    let mut passed = 1;
    while passed < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[passed - 1][byte];
            tables[passed][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        passed += 1;
    }
    tables
}

/// The checksum of some bytes.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = !0;
    let (words, rest) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in words {
        let [s0, s1, s2, s3] = u32::to_le_bytes(sum);
        sum = at(7, a ^ s0)
            ^ at(6, b ^ s1)
            ^ at(5, c ^ s2)
            ^ at(4, d ^ s3)
            ^ at(3, *e)
            ^ at(2, *f)
            ^ at(1, *g)
            ^ at(0, *h);
    }
    for byte in rest {
        let [lowest, ..] = sum.to_le_bytes();
        sum = sum >> 8 ^ at(0, lowest ^ byte);
    }
    !sum
}

fn at(passed: usize, byte: u8) -> u32 {
    TABLES[passed][usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn eight_bytes_at_once_give_what_bits_one_by_one_give() {
        let bytes: Vec<u8> = (0..200_u8).map(|byte| byte.wrapping_mul(89)).collect();
        for from in 0..10 {
            for to in from..bytes.len() {
                let mut sum = !0_u32;
                for byte in &bytes[from..to] {
                    sum ^= u32::from(*byte);
                    for _ in 0..8 {
                        sum = sum >> 1 ^ (POLYNOMIAL * (sum & 1));
                    }
                }
                assert_eq!(crc32(&bytes[from..to]), !sum, "{from}..{to}");
            }
        }
    }
}
