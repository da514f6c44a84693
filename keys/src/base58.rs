//! base58btc as did:key uses it, for values of a few dozen bytes.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Longer text than this is no key of ours; the decoder's time grows with the square of the length.
const LONGEST: usize = 64;

/// Decodes text of at most 64 characters.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > LONGEST {
        return None;
    }
    let zeros = text.bytes().take_while(|c| *c == b'1').count();
    let mut little_endian: Vec<u8> = Vec::new();
    for c in text.bytes() {
        let mut carry = u32::try_from(ALPHABET.iter().position(|a| *a == c)?).ok()?;
        for byte in &mut little_endian {
            carry += u32::from(*byte) * 58;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        while carry > 0 {
            little_endian.push(carry.to_le_bytes()[0]);
            carry >>= 8;
        }
    }
    let mut decoded = vec![0; zeros];
    decoded.extend(little_endian.iter().rev());
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn decodes_the_examples_of_the_base58_draft() {
        assert_eq!(decode("2NEpo7TZRRrLZSi2U").as_deref(), Some(b"Hello World!".as_slice()));
        assert_eq!(decode("11233QC4").as_deref(), Some([0, 0, 0x28, 0x7f, 0xb4, 0xcd].as_slice()));
        assert_eq!(decode("").as_deref(), Some([].as_slice()));
    }

    #[test]
    fn refuses_characters_outside_the_alphabet_and_long_text() {
        assert_eq!(decode("0OIl"), None);
        assert_eq!(decode(&"2".repeat(65)), None);
    }
}
