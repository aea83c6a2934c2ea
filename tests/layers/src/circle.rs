//! Circles in a graph of modules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which node uses which.
pub type Graph<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The shortest circle through each node that is in one, unless all nodes of it are in one before:
/// its nodes in their order, each using the next, and the last the first.
#[must_use]
pub fn circles<'a>(graph: &Graph<'a>) -> Vec<Vec<&'a str>> {
    let mut found: Vec<Vec<&str>> = Vec::new();
    for &node in graph.keys() {
        if found.iter().any(|circle| circle.contains(&node)) {
            continue;
        }
        found.extend(through(graph, node));
    }
    found
}

/// The shortest circle through `start`.
#[must_use]
pub fn through<'a>(graph: &Graph<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for &next in graph.get(node).into_iter().flatten() {
            if next == start {
                let back = std::iter::successors(Some(node), |at| came_from.get(at).copied());
                let mut circle: Vec<&str> = back.collect();
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph<'a>(arrows: &[(&'a str, &'a str)]) -> Graph<'a> {
        let mut graph = Graph::new();
        for (from, to) in arrows {
            graph.entry(*from).or_default().insert(*to);
        }
        graph
    }

    #[test]
    fn a_circle_is_found_by_its_shortest_way() {
        let long = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("b", "a"), ("c", "d")]);
        assert_eq!(circles(&long), [vec!["a", "b"], vec!["c", "a", "b"]]);
        let two = graph(&[("a", "b"), ("b", "a"), ("x", "y"), ("y", "x"), ("a", "x")]);
        assert_eq!(circles(&two), [["a", "b"], ["x", "y"]]);
    }

    #[test]
    fn what_only_leads_down_is_none() {
        let down = graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]);
        assert_eq!(circles(&down), Vec::<Vec<&str>>::new());
    }
}
