//! Values of options: bytes, counts, and lists of policies.

use bytecache::Policy;

/// Parses a number of bytes with an optional suffix K, M or G (powers of 1024).
///
/// # Errors
///
/// Returns an error for any other text, and for more bytes than a `usize` can hold.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((end, 'k' | 'K')) => (&text[..end], 1 << 10),
        Some((end, 'm' | 'M')) => (&text[..end], 1 << 20),
        Some((end, 'g' | 'G')) => (&text[..end], 1 << 30),
        _ => (text, 1),
    };
    let count: usize = digits.parse().map_err(|_| "not a number with an optional K, M or G".to_owned())?;
    count.checked_mul(unit).ok_or_else(|| "more than can be addressed".to_owned())
}

/// Parses a number from 1 to `most`.
///
/// # Errors
///
/// Returns an error for any other text.
pub(crate) fn count_up_to(most: usize, text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(format!("not a number from 1 to {most}")),
    }
}

/// Parses policies that are separated by commas, like `lru,s3-fifo(small=20,visits=1)`.
///
/// # Errors
///
/// Returns an error for the first name that is no policy, or parameter that its policy does not
/// accept.
pub(crate) fn policies(text: &str) -> Result<Vec<Policy>, bytecache::ParsePolicyError> {
    split_outside_brackets(text).into_iter().map(|name| name.trim().parse()).collect()
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use bytecache::policy::S3FifoConfig;

    use super::*;

    #[test]
    fn bytes_take_suffixes() {
        assert_eq!(bytes("65536"), Ok(65_536));
        assert_eq!(bytes("500K"), Ok(512_000));
        assert_eq!(bytes("64m"), Ok(64 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        for text in ["", "K", "-1", "1.5G", "1T", "12 K", "1é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(bytes("99999999999999G").is_err());
    }

    #[test]
    fn counts_are_from_one_to_the_most() {
        assert_eq!((count_up_to(3, "1"), count_up_to(3, "3")), (Ok(1), Ok(3)));
        for text in ["0", "4", "-1", "", "1.0"] {
            assert_eq!(count_up_to(3, text), Err("not a number from 1 to 3".to_owned()));
        }
    }

    #[test]
    fn commas_in_brackets_belong_to_the_policy() {
        let tuned =
            S3FifoConfig::new().small_percent(20).and_then(|tuned| tuned.promotion_visits(1)).expect("in range");
        let tuned = Policy::from(tuned);
        let parsed = policies("lru, s3-fifo(small=20,visits=1) ,arc").expect("three policies");
        assert_eq!(parsed, [Policy::Lru, tuned, Policy::Arc]);
    }

    #[test]
    fn what_is_no_policys_is_named() {
        for (text, name) in [
            ("lru,mru-ish", "mru-ish"),
            ("lru,,arc", ""),
            ("s3-fifo(small=20,lru", "s3-fifo(small=20,lru"),
            ("lru),arc", "lru)"),
            ("s3-fifo(large=20)", "large"),
            ("s3-fifo(small=101)", "101"),
        ] {
            let error = policies(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{name:?}")), "{text}: {error}");
        }
    }
}
