//! Who calls whom, and where each stands on the map. The same calls give the same map.

use std::collections::{BTreeMap, BTreeSet};

/// Calls from one end to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) protocol: String,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// 95 of 100 were answered faster, in nanoseconds.
    pub(crate) p95: Option<i64>,
    pub(crate) bytes: u64,
}

/// All calls between two ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) protocols: BTreeSet<String>,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) p95: Option<i64>,
    pub(crate) bytes: u64,
}

/// An end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct End {
    pub(crate) name: String,
    /// Calls it answered, and how many of them failed.
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Calls it made.
    pub(crate) made: u64,
    pub(crate) p95: Option<i64>,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

/// Ends with their places, and the calls between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph {
    pub(crate) ends: Vec<End>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Ends with the fewest calls that are not on the map.
    pub(crate) left_out: usize,
}

impl Graph {
    /// Puts calls on a map of at most `most` ends, the busiest.
    pub(crate) fn new(calls: &[Call], most: usize) -> Self {
        Self::within(calls, most, MOST_LAYERS)
    }

    fn within(calls: &[Call], most: usize, layers: usize) -> Self {
        let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
        for call in calls {
            *weights.entry(&call.client).or_default() += call.calls;
            *weights.entry(&call.server).or_default() += call.calls;
        }
        let mut busiest: Vec<(&str, u64)> = weights.into_iter().collect();
        // of equals, by name
        busiest.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let left_out = busiest.len().saturating_sub(most);
        busiest.truncate(most);
        let mut names: Vec<&str> = busiest.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let mut ends: Vec<End> =
            names.iter().map(|name| End { name: (*name).to_owned(), ..End::default() }).collect();
        let mut between: BTreeMap<(usize, usize), Edge> = BTreeMap::new();
        for call in calls {
            let place = |name: &str| names.binary_search(&name).ok();
            let (Some(from), Some(to)) = (place(&call.client), place(&call.server)) else {
                continue;
            };
            if let Some(end) = ends.get_mut(from) {
                end.made += call.calls;
            }
            if let Some(end) = ends.get_mut(to) {
                end.answered += call.calls;
                end.failed += call.failed;
                end.p95 = end.p95.max(call.p95);
            }
            let edge = between.entry((from, to)).or_insert_with(|| Edge {
                from,
                to,
                protocols: BTreeSet::new(),
                calls: 0,
                failed: 0,
                p95: None,
                bytes: 0,
            });
            edge.protocols.insert(call.protocol.clone());
            edge.calls += call.calls;
            edge.failed += call.failed;
            edge.p95 = edge.p95.max(call.p95);
            edge.bytes += call.bytes;
        }
        let mut graph = Self {
            ends,
            edges: between.into_values().collect(),
            width: 0.0,
            height: 0.0,
            left_out,
        };
        graph.place(layers);
        graph
    }

    /// A map of as many ends, the busiest, as can be read when all of it is seen at once on a screen.
    pub(crate) fn readable(calls: &[Call], most: usize) -> Self {
        let mut graph = Self::new(calls, most);
        let mut ends = graph.ends.len();
        while !graph.is_readable() && ends > FEWEST {
            graph = Self::within(calls, ends, FEW_LAYERS);
            ends = ends * 4 / 5;
        }
        graph
    }

    fn is_readable(&self) -> bool {
        (SCREEN.0 / self.width).min(SCREEN.1 / self.height) >= READABLE
    }

    /// Callers to the left of those they call, and each near those it speaks with.
    fn place(&mut self, most_layers: usize) {
        let count = self.ends.len();
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
        for edge in self.forward() {
            if let (Some(from), Some(to)) = (next.get_mut(edge.0), before.get_mut(edge.1)) {
                from.push(edge.1);
                to.push(edge.0);
            }
        }
        let mut layers = layers(&next, &before);
        // where everybody calls everybody, the longest way is no order of anything
        let deepest = layers.iter().max().map_or(0, |most| most + 1);
        if deepest > most_layers {
            layers.iter_mut().for_each(|layer| *layer = *layer * most_layers / deepest);
        }
        let mut columns: Vec<Vec<usize>> =
            vec![Vec::new(); layers.iter().max().map_or(0, |most| most + 1)];
        for (end, layer) in layers.iter().enumerate() {
            if let Some(column) = columns.get_mut(*layer) {
                column.push(end);
            }
        }
        order(&mut columns, &next, &before, count);
        let most = tallest(&columns);
        let folded: Vec<Vec<Vec<usize>>> = columns
            .iter()
            .map(|column| {
                let parts = column.len().div_ceil(most).max(1);
                column.chunks(column.len().div_ceil(parts).max(1)).map(<[usize]>::to_vec).collect()
            })
            .collect();
        let rows = folded.iter().flatten().map(Vec::len).max().unwrap_or_default();
        self.height = rows as f64 * ROW + MARGIN;
        let mut x = MARGIN / 2.0;
        for parts in folded {
            for part in parts {
                let top = (self.height - part.len() as f64 * ROW) / 2.0;
                for (place, end) in part.into_iter().enumerate() {
                    if let Some(end) = self.ends.get_mut(end) {
                        (end.x, end.y) = (x, top + place as f64 * ROW + (ROW - HEIGHT) / 2.0);
                    }
                }
                x += WIDTH + NEAR;
            }
            x += FAR - NEAR;
        }
        self.width = (x - FAR + MARGIN / 2.0).max(WIDTH + MARGIN);
    }

    /// The edges without circles: those that lead back are turned round, those to oneself left out.
    fn forward(&self) -> Vec<(usize, usize)> {
        let mut heavy: Vec<&Edge> = self.edges.iter().filter(|edge| edge.from != edge.to).collect();
        heavy.sort_by(|a, b| b.calls.cmp(&a.calls).then((a.from, a.to).cmp(&(b.from, b.to))));
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); self.ends.len()];
        let mut forward = Vec::with_capacity(heavy.len());
        for edge in heavy {
            // the busiest edges decide which way round the others are
            let (from, to) = if reaches(&next, edge.to, edge.from) {
                (edge.to, edge.from)
            } else {
                (edge.from, edge.to)
            };
            if let Some(known) = next.get_mut(from)
                && !known.contains(&to)
            {
                known.push(to);
                forward.push((from, to));
            }
        }
        forward
    }
}

/// How many ends may stand above each other: tall columns are folded until the map has the shape of a screen.
fn tallest(columns: &[Vec<usize>]) -> usize {
    let longest = columns.iter().map(Vec::len).max().unwrap_or_default().max(1);
    let shape = |most: usize| {
        let parts: usize = columns.iter().map(|column| column.len().div_ceil(most)).sum();
        let width = parts as f64 * (WIDTH + NEAR) + columns.len() as f64 * FAR;
        width / (most.min(longest) as f64 * ROW)
    };
    (FEWEST..longest).find(|most| shape(*most) <= SHAPE).unwrap_or(longest)
}

fn reaches(next: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; next.len()];
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.get(at).copied().unwrap_or(true) {
            continue;
        }
        if let Some(seen) = seen.get_mut(at) {
            *seen = true;
        }
        open.extend(next.get(at).into_iter().flatten());
    }
    false
}

/// How many steps each end is from those that nobody calls, along the longest way.
fn layers(next: &[Vec<usize>], before: &[Vec<usize>]) -> Vec<usize> {
    let mut layers = vec![0_usize; next.len()];
    let mut missing: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut open: Vec<usize> = (0..next.len()).filter(|at| missing.get(*at) == Some(&0)).collect();
    while let Some(at) = open.pop() {
        let layer = layers.get(at).copied().unwrap_or_default();
        for to in next.get(at).into_iter().flatten() {
            if let Some(there) = layers.get_mut(*to) {
                *there = (*there).max(layer + 1);
            }
            if let Some(left) = missing.get_mut(*to) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    open.push(*to);
                }
            }
        }
    }
    layers
}

/// Moves each end of a column to the middle of those it speaks with, a few times each way.
fn order(columns: &mut [Vec<usize>], next: &[Vec<usize>], before: &[Vec<usize>], count: usize) {
    let mut places = vec![0.0_f64; count];
    let note = |column: &[usize], places: &mut [f64]| {
        for (at, end) in column.iter().enumerate() {
            if let Some(place) = places.get_mut(*end) {
                *place = (at as f64 + 0.5) / column.len().max(1) as f64;
            }
        }
    };
    for column in columns.iter() {
        note(column, &mut places);
    }
    for round in 0..ROUNDS {
        let is_forth = round % 2 == 0;
        let near = if is_forth { before } else { next };
        let all: Vec<usize> = if is_forth {
            (0..columns.len()).collect()
        } else {
            (0..columns.len()).rev().collect()
        };
        for at in all {
            let Some(column) = columns.get_mut(at) else { continue };
            let middle = |end: usize| {
                let near = near.get(end).map_or(&[][..], Vec::as_slice);
                if near.is_empty() {
                    return places.get(end).copied().unwrap_or_default();
                }
                near.iter().filter_map(|it| places.get(*it)).sum::<f64>() / near.len() as f64
            };
            let mut keyed: Vec<(f64, usize)> =
                column.iter().map(|end| (middle(*end), *end)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *column = keyed.into_iter().map(|(_, end)| end).collect();
            note(column, &mut places);
        }
    }
}

pub(crate) const WIDTH: f64 = 156.0;
pub(crate) const HEIGHT: f64 = 36.0;
const ROW: f64 = 46.0;
const NEAR: f64 = 14.0;
const FAR: f64 = 150.0;
const SHAPE: f64 = 1.5;
const FEWEST: usize = 5;
const MARGIN: f64 = 40.0;
const ROUNDS: usize = 8;
const MOST_LAYERS: usize = 7;
/// As many as a screen has room for.
const FEW_LAYERS: usize = 4;
/// What a map is drawn on, as a rule, beside the list of calls.
const SCREEN: (f64, f64) = (980.0, 660.0);
/// The scale from which on names can be read.
const READABLE: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(client: &str, server: &str, calls: u64) -> Call {
        Call {
            client: client.into(),
            server: server.into(),
            protocol: "x".into(),
            calls,
            failed: calls / 10,
            p95: Some(5),
            bytes: 1,
        }
    }

    fn end<'a>(graph: &'a Graph, name: &str) -> &'a End {
        graph.ends.iter().find(|end| end.name == name).expect("it is on the map")
    }

    #[test]
    fn what_is_drawn_can_be_read_and_the_rest_is_counted() {
        // everybody calls some others: no order, and far too much for a screen
        let calls: Vec<Call> = (0..300_u64)
            .flat_map(|k| [k * 7 % 300, k * 31 % 300, (k + 1) % 300].map(|to| (k, to)))
            .map(|(from, to)| Call {
                client: format!("end-{from}"),
                server: format!("end-{to}"),
                protocol: "http".into(),
                calls: 1 + from,
                ..Call::default()
            })
            .collect();
        let graph = Graph::readable(&calls, 300);
        assert!(graph.is_readable() && graph.ends.len() >= 30, "{}", graph.ends.len());
        assert_eq!(graph.ends.len() + graph.left_out, 300);
        let few = Graph::readable(calls.get(..20).unwrap_or_default(), 300);
        assert_eq!(few.left_out, 0);
        let whole = Graph::new(&calls, 300);
        assert_eq!((whole.ends.len(), whole.left_out, whole.is_readable()), (300, 0, false));
    }

    #[test]
    fn callers_stand_left_of_whom_they_call() {
        let graph = Graph::new(
            &[call("shop", "db", 5), call("user", "shop", 9), call("user", "db", 1)],
            300,
        );
        assert!(end(&graph, "user").x < end(&graph, "shop").x);
        assert!(end(&graph, "shop").x < end(&graph, "db").x);
        assert_eq!((end(&graph, "shop").answered, end(&graph, "shop").made), (9, 5));
    }

    #[test]
    fn circles_and_calls_to_oneself_are_placed() {
        let graph = Graph::new(
            &[call("a", "b", 9), call("b", "c", 9), call("c", "a", 1), call("a", "a", 3)],
            300,
        );
        assert!(end(&graph, "a").x < end(&graph, "b").x && end(&graph, "b").x < end(&graph, "c").x);
        assert_eq!(graph.edges.len(), 4);
    }

    #[test]
    fn three_hundred_ends_do_not_cover_each_other() {
        let mut calls = Vec::new();
        for k in 0..299_u64 {
            calls.push(call(&format!("pod-{k}"), &format!("pod-{}", (k * 7 + 1) % 300), k + 1));
            calls.push(call(&format!("pod-{}", k % 17), &format!("pod-{k}"), 3));
        }
        let graph = Graph::new(&calls, 300);
        assert_eq!(graph.ends.len(), 300);
        for (at, one) in graph.ends.iter().enumerate() {
            assert!(
                one.x >= 0.0
                    && one.x + WIDTH <= graph.width
                    && one.y >= 0.0
                    && one.y + HEIGHT <= graph.height
            );
            for other in graph.ends.iter().skip(at + 1) {
                let apart = (one.x - other.x).abs() >= WIDTH || (one.y - other.y).abs() >= HEIGHT;
                assert!(apart, "{} and {}", one.name, other.name);
            }
        }
        calls.reverse();
        assert_eq!(Graph::new(&calls, 300), graph, "the order of rows does not matter");
    }

    #[test]
    fn a_star_is_folded_and_the_rest_is_counted() {
        let calls: Vec<_> =
            (0..400).map(|k| call(&format!("client-{k}"), "server", k + 1)).collect();
        let graph = Graph::new(&calls, 300);
        assert_eq!((graph.ends.len(), graph.left_out), (300, 101));
        assert!(
            graph.width > graph.height && graph.width < 2.0 * graph.height,
            "{} by {}",
            graph.width,
            graph.height
        );
        assert!(Graph::new(&[], 300).ends.is_empty());
    }
}
