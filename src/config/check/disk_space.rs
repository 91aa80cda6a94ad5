//! Room on a disk as an operator writes it: bytes or percent.
//!
//! Owns the grammar of `min_free_disk`. Must not look at a disk.

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

/// Reads `10GiB` or `15 %`; what is wrong otherwise, as the end of a sentence.
pub(crate) fn least(text: &str) -> Result<MinDiskSpace, &'static str> {
    let text = text.trim();
    let (number, unit) = UNITS
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))
        .ok_or("which has no unit of room on a disk")?;
    let number: u64 = number.parse().map_err(|_| "which is no whole number of its unit")?;
    match (number, unit) {
        (0, _) => Err("and a disk without any room is too late: leave it out, or write more"),
        (1..=90, 0) => Ok(MinDiskSpace::Percent(number as u8)),
        (_, 0) => Err("and a disk with so much room is hardly used: write 1% to 90%"),
        (number, factor) => {
            number.checked_mul(factor).map(MinDiskSpace::Bytes).ok_or("which is more than any disk")
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::check::disk_space::least;
    use crate::domain::MinDiskSpace;
    use rstest::rstest;

    #[rstest]
    #[case("10GiB", MinDiskSpace::Bytes(10 << 30), "10 GiB")]
    #[case("500 MiB", MinDiskSpace::Bytes(500 << 20), "500 MiB")]
    #[case("2TB", MinDiskSpace::Bytes(2_000_000_000_000), "1.8 TiB")]
    #[case(" 15 % ", MinDiskSpace::Percent(15), "15%")]
    fn room_is_read(#[case] text: &str, #[case] expected: MinDiskSpace, #[case] shown: &str) {
        assert_eq!(least(text), Ok(expected));
        assert_eq!(expected.to_string(), shown);
    }

    #[rstest]
    #[case("10", "which has no unit of room on a disk")]
    #[case("GiB", "which is no whole number of its unit")]
    #[case("1.5GiB", "which is no whole number of its unit")]
    #[case("-1%", "which is no whole number of its unit")]
    #[case("0%", "and a disk without any room is too late: leave it out, or write more")]
    #[case("0 GiB", "and a disk without any room is too late: leave it out, or write more")]
    #[case("95%", "and a disk with so much room is hardly used: write 1% to 90%")]
    #[case("99999999999TiB", "which is more than any disk")]
    fn what_is_no_room_is_named(#[case] text: &str, #[case] why: &str) {
        assert_eq!(least(text), Err(why));
    }
}
