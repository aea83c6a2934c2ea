//! How long files are.

use crate::{Finding, Source, Sources};

/// Lines of a file that can still be held in the head.
const MOST: usize = 450;

/// Lines that half of the product's files stay within.
const MEDIAN: usize = 150;

/// Files that are too long, tests included, and a median that is.
pub(super) fn lengths(sources: &Sources) -> Vec<Finding> {
    let long = sources
        .files
        .iter()
        .filter(|file| file.is_rust() && lines(&file.text) > MOST);
    let mut findings: Vec<Finding> = long.map(|file| too_long(file, lines(&file.text))).collect();
    let mut product: Vec<(usize, &Source)> = sources
        .product()
        .map(|file| (lines(file.product()), file))
        .collect();
    product.sort_by_key(|(count, _)| *count);
    findings.extend(
        product
            .get(product.len() / 2)
            .filter(|(count, _)| *count > MEDIAN)
            .map(|(count, file)| Finding {
                path: file.path.clone(),
                line: 0,
                problem: format!("is the median of the product's files, with {count} lines"),
            }),
    );
    findings
}

fn lines(text: &str) -> usize {
    text.lines().count()
}

fn too_long(file: &Source, count: usize) -> Finding {
    Finding {
        path: file.path.clone(),
        line: 0,
        problem: format!("has {count} lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::lengths;
    use crate::rules::tests::product;

    #[test]
    fn the_longest_and_the_median_are_held() {
        assert!(lengths(&product(&"\n".repeat(150))).is_empty());
        assert_eq!(lengths(&product(&"\n".repeat(151))).len(), 1);
        assert_eq!(lengths(&product(&"\n".repeat(451))).len(), 2);
    }
}
