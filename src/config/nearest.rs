//! "Did you mean": the known word nearest to a mistyped one.
//!
//! Owns the maximum edit distance of a suggestion.

/// The word of `known` with the smallest edit distance; `None` if it is too large for a typing error.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(lower.len()) <= allowed * 4)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("zeeb", Some("zeebe"))]
    #[case("zeeeb", Some("zeebe"))]
    #[case("Operate", Some("operate"))]
    #[case("repsitory", Some("repository"))]
    #[case("x", None)]
    #[case("something", None)]
    fn only_similar_words_are_suggested(#[case] word: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(word, ["zeebe", "operate", "repository", "tasklist"]), meant);
    }
}
