//! Bytes as words of hexadecimal digits, in which orders have them.

/// @returns none for what is not two digits for each byte
pub fn bytes(word: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = word
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect::<Option<_>>()?;
    if digits.len() % 2 != 0 {
        return None;
    }
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_and_others_refused() {
        assert_eq!(bytes("00ff1A"), Some(vec![0, 255, 26]));
        assert_eq!(bytes(""), Some(vec![]));
        for bad in ["0", "0g", "é0", "-1"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
