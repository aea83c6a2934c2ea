//! Doc comments that say no more than the name.

use crate::{Finding, Kind, Sources};

/// So many words say nothing yet.
const FEW: usize = 3;

/// Doc comments of at most three words.
pub(super) fn short(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in sources.of(&[Kind::Product]) {
        let mut comment: Option<(usize, String)> = None;
        for (line, text) in (1..).zip(file.product().lines()) {
            match text
                .trim_start()
                .strip_prefix("///")
                .filter(|rest| !rest.starts_with('/'))
            {
                Some(words) => {
                    let (_, so_far) = comment.get_or_insert((line, String::new()));
                    so_far.push_str(words);
                }
                None => findings.extend(comment.take().and_then(|ended| judge(&file.path, ended))),
            }
        }
        findings.extend(comment.and_then(|ended| judge(&file.path, ended)));
    }
    findings
}

fn judge(path: &str, (line, text): (usize, String)) -> Option<Finding> {
    (text.split_whitespace().count() <= FEW).then(|| Finding {
        path: path.to_owned(),
        line,
        problem: format!(
            "{:?} says nothing: meaning, unit, shape or errors?",
            text.trim()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::short;
    use crate::rules::tests::product;

    #[test]
    fn three_words_are_too_few() {
        let found = short(&product(
            "/// Its own name.\na: u8,\n/// Its name on the node.\n\
             b: u8,\n/// Why\n/// it failed here.\n",
        ));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 1);
    }
}
