//! A plot as a heat map: how much stands where, in cells.

use crate::{
    plot::{Across, Plot},
    scale::Unit,
};

/// Cells, by column from the left and row from the bottom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heat {
    /// What the two ends across stand for.
    pub(crate) span: (f64, f64),
    pub(crate) columns: usize,
    pub(crate) rows: Vec<String>,
    /// What stands in a cell; nothing where nothing does.
    cells: Vec<Option<f64>>,
    pub(crate) most: f64,
    /// What the cells' numbers are.
    pub(crate) unit: Unit,
}

impl Heat {
    /// Each series is a row, and its numbers the cells. One series alone falls into bands of its numbers, and the cells
    /// are how many there are of them.
    pub(crate) fn new(plot: &Plot, room: f64) -> Self {
        let most_columns = (room / CELL).clamp(4.0, MOST_COLUMNS as f64) as usize;
        let points = || plot.series.iter().flat_map(|it| it.points.iter());
        let mut xs: Vec<f64> = points().map(|it| it.0).filter(|it| it.is_finite()).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        // where it begins, how much it spans, and in how many columns
        let (low, wide, columns) = match &plot.across {
            Across::Names(names) => (-0.5, names.len().max(1) as f64, names.len().max(1)),
            _ => {
                let step = xs
                    .windows(2)
                    .filter_map(|pair| Some(pair.last()? - pair.first()?))
                    .fold(f64::INFINITY, f64::min);
                let low = xs.first().copied().unwrap_or_default();
                let high = xs.last().copied().unwrap_or_default();
                let (low, high) = plot.span.unwrap_or((low, high));
                // one bucket alone has a width too, wide enough not to be lost beside a large number
                let step = if step.is_finite() { step } else { (low.abs() * 1e-9).max(1.0) };
                let steps = (((high - low) / step).round() + 1.0).max(1.0);
                if steps <= most_columns as f64 {
                    (low, steps * step, steps as usize)
                } else {
                    (low, high - low, most_columns)
                }
            }
        };
        let span = (low, low + wide);
        let column = |x: f64| {
            // times since 1970 are so large that only their distance is exact; what stands where a column begins
            // belongs to it, however the division rounds, and what stands at the end to the last one
            let part = (x - low) / wide;
            let at = (part * columns as f64 + 1e-6) as usize;
            (0.0..=1.0).contains(&part).then_some(at.min(columns - 1))
        };
        let is_alone = plot.series.len() == 1 && !matches!(plot.across, Across::Names(_));
        let (rows, found): (Vec<String>, Vec<(usize, usize, f64)>) = if is_alone {
            let bands = Bands::new(points().map(|it| it.1), plot.unit);
            let found =
                points().filter_map(|(x, y)| Some((column(*x)?, bands.place(*y)?, 1.0))).collect();
            (bands.names(), found)
        } else {
            // the first series on top
            let rows = plot.series.iter().rev().map(|it| it.name.clone()).collect();
            let found = plot.series.iter().rev().enumerate().flat_map(|(row, line)| {
                line.points.iter().filter_map(move |(x, y)| {
                    Some((column(*x)?, row, *y)).filter(|(.., y)| y.is_finite())
                })
            });
            (rows, found.collect())
        };
        let unit = if is_alone { Unit::Number } else { plot.unit };
        // counts add up; of times the longest is what hurts
        let is_longest = matches!(unit, Unit::Duration | Unit::Percent);
        let mut cells = vec![None::<f64>; columns * rows.len()];
        for (column, row, value) in found {
            if let Some(cell) = cells.get_mut(row * columns + column) {
                *cell = Some(match *cell {
                    None => value,
                    Some(before) if is_longest => before.max(value),
                    Some(before) => before + value,
                });
            }
        }
        let most = cells.iter().flatten().copied().fold(0.0, f64::max);
        Self { span, columns, rows, cells, most, unit }
    }

    pub(crate) fn cell(&self, column: usize, row: usize) -> Option<f64> {
        if column >= self.columns {
            return None;
        }
        self.cells.get(row * self.columns + column).copied().flatten()
    }

    /// How strong a value's colour is: one of [`SHADES`]. Small values among large ones are still told apart.
    pub(crate) fn shade(&self, value: f64) -> usize {
        let part = (value.max(0.0) / self.most.max(f64::MIN_POSITIVE)).sqrt();
        ((part * SHADES as f64).ceil() as usize).clamp(1, SHADES)
    }
}

/// Stretches of numbers: as wide as each other, or each as much wider as the one before where the numbers
/// lie far apart.
#[derive(Debug)]
struct Bands {
    low: f64,
    high: f64,
    is_log: bool,
    unit: Unit,
}

impl Bands {
    fn new(values: impl Iterator<Item = f64>, unit: Unit) -> Self {
        let (low, high) = values
            .filter(|it| it.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(it), b.max(it)));
        let is_log = low > 0.0 && high / low > 20.0;
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, is_log, unit }
    }

    fn place(&self, value: f64) -> Option<usize> {
        if !value.is_finite() {
            return None;
        }
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        Some(((part * BANDS as f64) as usize).min(BANDS - 1))
    }

    /// Where each begins.
    fn names(&self) -> Vec<String> {
        (0..BANDS)
            .map(|at| {
                let part = at as f64 / BANDS as f64;
                let value = if self.is_log {
                    self.low * (self.high / self.low).powf(part)
                } else {
                    self.low + (self.high - self.low) * part
                };
                format!("≥ {}", self.unit.show(value))
            })
            .collect()
    }
}

pub(crate) const SHADES: usize = 8;
const BANDS: usize = 16;
const MOST_COLUMNS: usize = 160;
/// The narrowest that a cell may be, in pixels.
const CELL: f64 = 7.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Series;

    fn plot(across: Across, unit: Unit, series: Vec<(&str, Vec<(f64, f64)>)>) -> Plot {
        let series = series.into_iter().map(|(name, points)| Series {
            name: name.to_owned(),
            tone: String::new(),
            points,
        });
        Plot { across, span: None, step: None, series: series.collect(), unit, left_out: None }
    }

    #[test]
    fn series_are_rows_and_times_are_columns() {
        let a = vec![(0.0, 1.0), (10.0, 2.0), (30.0, 8.0)];
        let b = vec![(10.0, 4.0)];
        let heat = Heat::new(&plot(Across::Time, Unit::Number, vec![("a", a), ("b", b)]), 800.0);
        assert_eq!(
            (heat.columns, heat.rows.as_slice()),
            (4, ["b".to_owned(), "a".to_owned()].as_slice())
        );
        assert_eq!(
            [heat.cell(0, 1), heat.cell(1, 0), heat.cell(2, 1), heat.cell(3, 1)],
            [Some(1.0), Some(4.0), None, Some(8.0)]
        );
        assert_eq!((heat.shade(8.0), heat.shade(2.0), heat.shade(0.0)), (SHADES, SHADES / 2, 1));
    }

    #[test]
    fn many_times_share_columns() {
        let points: Vec<_> = (0..1_000).map(|at| (f64::from(at), 1.0)).collect();
        let two = vec![("a", points.clone()), ("b", points.clone())];
        let counts = Heat::new(&plot(Across::Time, Unit::Number, two.clone()), 140.0);
        assert_eq!((counts.columns, counts.cell(0, 0)), (20, Some(50.0)));
        let longest = Heat::new(&plot(Across::Time, Unit::Duration, two), 140.0);
        assert_eq!(longest.cell(0, 0), Some(1.0));
    }

    /// 2026-12-01 00:00:00, in nanoseconds since 1970.
    const MIDNIGHT: f64 = 1_796_083_200e9;

    #[test]
    fn each_bucket_has_a_column_of_its_own() {
        for count in 1..=100 {
            let points =
                |value: f64| (0..count).map(move |at| (MIDNIGHT + at as f64 * 60e9, value));
            let series = vec![("a", points(1.0).collect()), ("b", points(2.0).collect())];
            let heat = Heat::new(&plot(Across::Time, Unit::Number, series), 800.0);
            assert_eq!(heat.columns, count);
            for column in 0..count {
                let cells = (heat.cell(column, 1), heat.cell(column, 0));
                assert_eq!(cells, (Some(1.0), Some(2.0)), "{column} of {count}");
            }
        }
    }

    #[test]
    fn the_newest_point_is_kept() {
        // a second apart, but for two: too many columns for steps
        let mut points: Vec<_> = (0..10).map(|at| (MIDNIGHT + at as f64 * 1e9, 1.0)).collect();
        points.push((MIDNIGHT + 1e6, 1.0));
        let series = vec![("a", points), ("b", Vec::new())];
        let heat = Heat::new(&plot(Across::Time, Unit::Number, series), 800.0);
        let all: f64 = (0..heat.columns).filter_map(|column| heat.cell(column, 1)).sum();
        assert_eq!(all, 11.0);
        assert_eq!(heat.cell(heat.columns - 1, 1), Some(1.0));
        assert_eq!(heat.span, (MIDNIGHT, MIDNIGHT + 9e9));
    }

    #[test]
    fn one_bucket_has_a_width() {
        for x in [MIDNIGHT, 0.0, -5.0, 1e-3] {
            let series = vec![("a", vec![(x, 3.0)]), ("b", vec![(x, 4.0)])];
            let heat = Heat::new(&plot(Across::Time, Unit::Number, series), 800.0);
            assert!(heat.span.1.is_finite() && heat.span.1 > heat.span.0, "{:?}", heat.span);
            assert_eq!((heat.columns, heat.cell(0, 1), heat.cell(0, 0)), (1, Some(3.0), Some(4.0)));
        }
    }

    #[test]
    fn one_series_falls_into_bands() {
        let points = vec![(0.0, 1e3), (1.0, 1e6), (2.0, 1e9), (3.0, f64::NAN)];
        let heat = Heat::new(&plot(Across::Time, Unit::Duration, vec![("d", points)]), 800.0);
        assert_eq!((heat.rows.len(), heat.unit), (BANDS, Unit::Number));
        assert_eq!(
            [heat.cell(0, 0), heat.cell(1, BANDS / 2), heat.cell(2, BANDS - 1)],
            [Some(1.0); 3]
        );
        assert_eq!(heat.rows.first().map(String::as_str), Some("≥ 1.00 µs"));
        for points in
            [vec![], vec![(0.0, 0.0)], vec![(f64::NAN, 1.0)], vec![(1.0, -3.0), (1.0, 5.0)]]
        {
            Heat::new(&plot(Across::Time, Unit::Number, vec![("x", points)]), 0.0);
        }
    }
}
