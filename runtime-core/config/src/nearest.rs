//! Guesses which key was meant.

use strsim::osa_distance;

/// Longest key for which a guess is made: the effort grows with the square.
const MAX_LEN: usize = 64;

/// The candidate nearest to `word`, if one is near: a third of its letters may differ.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_LEN {
        return None;
    }
    candidates
        .map(|candidate| (osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        let known = ["enable_template", "template_path"];
        assert_eq!(
            nearest("enable_templat", known.into_iter()),
            Some("enable_template")
        );
        // Two neighbours that changed places are one slip.
        assert_eq!(nearest("kernle", ["kernel"].into_iter()), Some("kernel"));
        assert_eq!(nearest("ab", ["ba", "xy"].into_iter()), Some("ba"));
        assert_eq!(nearest("zebra", known.into_iter()), None);
        assert_eq!(
            nearest(&"enable_template".repeat(1000), known.into_iter()),
            None
        );
    }
}
