//! What is asked of a benchmark.

use std::path::PathBuf;

use clap::Args;

/// How much is measured, and where it goes
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// Starts of each kind, one of each in a round
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub samples: u16,
    /// Numbers of pods that are started at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 30],
          value_parser = clap::value_parser!(u16).range(1..=200))]
    pub crowds: Vec<u16>,
    /// Numbers of pods that are alive while others start
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 50],
          value_parser = clap::value_parser!(u16).range(1..=200))]
    pub alive: Vec<u16>,
    /// Little of everything, to see that it works: no promise is enforced
    #[arg(long, conflicts_with_all = ["samples", "crowds", "alive"])]
    pub quick: bool,
    /// Where the samples and the plot are written
    #[arg(long, default_value = "build/bench")]
    pub out: PathBuf,
}

impl Options {
    /// What `--quick` stands for, in ascending numbers.
    pub(super) fn resolved(mut self) -> Self {
        if self.quick {
            self.samples = 3;
            self.crowds = vec![1, 3];
            self.alive = vec![1, 3];
        }
        self.crowds.sort_unstable();
        self.alive.sort_unstable();
        self
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &[&str]) -> Result<Options, String> {
        let line = Line::try_parse_from([&["bench"], words].concat());
        line.map(|line| line.options.resolved())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn as_the_specification_asks_unless_told_otherwise() {
        let usual = parse(&[]).unwrap();
        assert_eq!(
            (usual.samples, usual.crowds, usual.alive, usual.quick),
            (20, vec![1, 10, 30], vec![1, 10, 50], false)
        );
        let set = parse(&["--samples", "7", "--crowds", "5,2", "--alive", "3"]).unwrap();
        assert_eq!(
            (set.samples, set.crowds, set.alive),
            (7, vec![2, 5], vec![3])
        );
        let quick = parse(&["--quick"]).unwrap();
        assert_eq!((quick.samples, quick.alive), (3, vec![1, 3]));
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for words in [
            &["--samples", "0"][..],
            &["--crowds", "1,0"],
            &["--alive", "1000"],
            &["--quick", "--samples", "9"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
