//! `min_free_disk`: bytes or percent.
//!
//! Owns the syntax of the value. Must not read the usage of a disk.

use crate::domain::MinDiskSpace;

const UNITS: [(&str, u64); 7] = [
    ("%", 0),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Parses `10GiB` or `15 %`. The error is the end of a sentence about the value.
pub(crate) fn parse(text: &str) -> Result<MinDiskSpace, &'static str> {
    let text = text.trim();
    let (number, unit) = UNITS
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))
        .ok_or("without a unit of disk space")?;
    let number: u64 = number.parse().map_err(|_| "not a whole number of its unit")?;
    match (number, unit) {
        (0, _) => Err("and a full disk is too late to act: remove it, or write more"),
        (1..=90, 0) => Ok(MinDiskSpace::Percent(number as u8)),
        (_, 0) => Err("almost the whole disk: write 1% to 90%"),
        (number, factor) => number.checked_mul(factor).map(MinDiskSpace::Bytes).ok_or("larger than any disk"),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::check::disk_space::parse;
    use crate::domain::MinDiskSpace;
    use rstest::rstest;

    #[rstest]
    #[case("10GiB", MinDiskSpace::Bytes(10 << 30), "10 GiB")]
    #[case("500 MiB", MinDiskSpace::Bytes(500 << 20), "500 MiB")]
    #[case("2TB", MinDiskSpace::Bytes(2_000_000_000_000), "1.8 TiB")]
    #[case(" 15 % ", MinDiskSpace::Percent(15), "15%")]
    fn valid_values_are_parsed(#[case] text: &str, #[case] expected: MinDiskSpace, #[case] shown: &str) {
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(expected.to_string(), shown);
    }

    #[rstest]
    #[case("10", "without a unit of disk space")]
    #[case("GiB", "not a whole number of its unit")]
    #[case("1.5GiB", "not a whole number of its unit")]
    #[case("-1%", "not a whole number of its unit")]
    #[case("0%", "and a full disk is too late to act: remove it, or write more")]
    #[case("0 GiB", "and a full disk is too late to act: remove it, or write more")]
    #[case("95%", "almost the whole disk: write 1% to 90%")]
    #[case("99999999999TiB", "larger than any disk")]
    fn invalid_values_are_rejected_with_reason(#[case] text: &str, #[case] why: &str) {
        assert_eq!(parse(text), Err(why));
    }
}
