//! Lists of CPUs and memory nodes, as in `0-3,8` (cpuset(7)).

use std::collections::BTreeSet;

/// More CPUs than a kernel can be built for (`NR_CPUS`).
const MOST: u32 = 8192;

/// The union of the lists. Empty, which means no restriction, if one of them is empty or cannot be
/// parsed: that container may run anywhere.
#[must_use]
pub fn union<'a>(lists: impl Iterator<Item = &'a str>) -> String {
    let mut all = BTreeSet::new();
    for list in lists {
        match parse(list) {
            Some(members) if !members.is_empty() => all.extend(members),
            _ => return String::new(),
        }
    }
    let members: Vec<String> = all.iter().map(u32::to_string).collect();
    members.join(",")
}

fn parse(list: &str) -> Option<BTreeSet<u32>> {
    let mut members = BTreeSet::new();
    for part in list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        if last >= MOST {
            return None;
        }
        members.extend(first..=last);
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::union;

    #[test]
    fn lists_are_united_unless_one_chooses_nothing() {
        let table: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["0-2"], "0,1,2"),
            (&["1,3-4", "0-1"], "0,1,3,4"),
            (&["1", ""], ""),
            (&["1", "x"], ""),
            (&["0-4294967295"], ""),
        ];
        for (lists, expected) in table {
            assert_eq!(union(lists.iter().copied()), *expected, "{lists:?}");
        }
    }
}
