//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of `known`, where one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(lower.len()) <= allowed * 4)
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, changes and swaps of neighbours that turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut now = vec![row + 1; to.len() + 1];
        for (column, b) in to.iter().enumerate() {
            let changed = last[column] + usize::from(a != b);
            now[column + 1] = changed.min(last[column + 1] + 1).min(now[column] + 1);
            if row > 0 && column > 0 && from[row - 1] == *b && to[column - 1] == *a {
                now[column + 1] = now[column + 1].min(before_last[column - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, now);
    }
    last[to.len()]
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
    fn only_what_is_near_is_suggested(#[case] word: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(word, ["zeebe", "operate", "repository", "tasklist"]), meant);
    }
}
