//! The known word that a mistyped one was probably meant to be.

/// The nearest of `known` to `word`, when it is near enough to be a typing mistake: at most one edit
/// for every three letters. Case and the choice of `-` or `_` do not count.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .iter()
        .map(|candidate| (distance(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: [&str; 7] =
        ["host", "port", "password", "username", "ssl_mode", "max_open_conns", "max_idle_conns"];

    #[test]
    fn finds_what_was_meant() {
        for (typo, key) in [
            ("passwrod", "password"),
            ("Host", "host"),
            ("prot", "port"),
            ("ssl-mode", "ssl_mode"),
            ("sslmode", "ssl_mode"),
            ("user_name", "username"),
            ("max_open_connections", "max_open_conns"),
        ] {
            let found = nearest(typo, &KEYS);
            // Too far for a typing mistake: no guess is better than a wrong one.
            let expected = (typo != "max_open_connections").then_some(key);
            assert_eq!(found, expected, "{typo}");
        }
        assert_eq!(nearest("retention", &KEYS), None);
        assert_eq!(nearest("", &KEYS), None);
    }

    proptest! {
        #[test]
        fn distance_is_a_symmetric_measure(a in "[a-c_]{0,8}", b in "[a-c_]{0,8}") {
            let d = distance(&a, &b);
            prop_assert_eq!(d, distance(&b, &a));
            prop_assert_eq!(d == 0, a == b);
            prop_assert!(d <= a.len().max(b.len()));
        }

        #[test]
        fn one_wrong_letter_is_forgiven(key in 0usize..7, at in 0usize..20, letter in "[a-z]") {
            let mut typo: Vec<char> = KEYS[key].chars().collect();
            let at = at % typo.len();
            typo[at] = letter.chars().next().expect("one letter");
            let typo: String = typo.into_iter().collect();
            prop_assert!(nearest(&typo, &KEYS).is_some());
        }
    }
}
