//! Figures of several rounds: the median, and how far they lie apart.

use std::fmt;

/// One figure, round by round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Nearest rank; no number without rounds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
    }

    /// The middle one; of an even number the mean of the two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        match n {
            0 => f64::NAN,
            _ if n % 2 == 1 => sorted[n / 2],
            _ => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// `median (least–most)`
impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("–");
        }
        if self.0.len() == 1 {
            return f.write_str(&number(self.0[0]));
        }
        let [median, least, most] = [self.median(), self.least(), self.most()].map(number);
        write!(f, "{median} ({least}–{most})")
    }
}

/// Three digits that count, or all before the point, in groups.
pub(crate) fn number(n: f64) -> String {
    if !n.is_finite() {
        return "–".into();
    }
    let digits = match n.abs() {
        n if n.fract() == 0.0 && n > 0.0 => 0,
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 0.1 || n == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{n:.digits$}");
    let (whole, fraction) =
        text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        let left = whole.len() - i;
        if i > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(c);
    }
    match fraction {
        Some(fraction) => format!("{grouped}.{fraction}"),
        None => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count_and_groups() {
        let written = [0.0, 0.0123, 0.456, 1.0, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        assert_eq!(written, ["0.00", "0.012", "0.46", "1", "12.3", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn rounds_are_told_by_their_median_and_extremes() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.to_string(), "–");
        [3.0, 1.0, 2.0, 10.0].into_iter().for_each(|n| rounds.push(n));
        assert_eq!(rounds.to_string(), "2.50 (1–10)");
        assert_eq!((rounds.percentile(50), rounds.percentile(100)), (2.0, 10.0));
    }
}
