//! What a benchmark ends with: samples and plot on disk, promises judged, and one line of JSON.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use system::time::since_epoch;

use super::{
    measures::measures,
    options::Options,
    phases::Phases,
    plot::svg,
    sample::Raw,
    specification::{Verdict, bounds},
    table::{page, told},
};
use crate::{Error, Result};

/// The line that a benchmark ends with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether all promises were kept; of a quick run nothing can be said.
    pub kept: Option<bool>,
    /// The promises that were not.
    pub broken: Vec<String>,
    /// The promises that nothing was sampled for; they are not kept either.
    pub unmeasured: Vec<String>,
    /// Starts of each kind.
    pub samples: u16,
    /// How long all took.
    pub seconds: f64,
    /// By the names of `SPECIFICATION.md`.
    pub measures: BTreeMap<&'static str, f64>,
    /// File with all samples, as JSON.
    pub raw: PathBuf,
    /// File with the plot of all start times, as SVG.
    pub plot: PathBuf,
}

/// The file of samples.
#[derive(Serialize)]
struct File<'a> {
    /// When it was written, in seconds since the epoch.
    at: u64,
    measures: &'a BTreeMap<&'static str, f64>,
    phases: &'a [Phases],
    samples: &'a Raw,
}

impl Outcome {
    /// Judges, tells on standard error, and writes the files.
    pub fn of(raw: &Raw, options: &Options, took: Duration) -> Result<Self> {
        let phases = Phases::of(raw);
        let measures = measures(raw);
        let bounds = bounds()?;
        let files = Files::in_directory(&options.out)?;
        let samples = File {
            at: files.at,
            measures: &measures,
            phases: &phases,
            samples: raw,
        };
        let samples = serde_json::to_string(&samples);
        let samples = samples.map_err(|error| Error::Unexpected(error.to_string()))?;
        let raw_path = files.write("samples", "json", &samples)?;
        let plot_path = files.write("phases", "svg", &svg(&phases))?;
        files.write("figures", "md", &page(&bounds, &measures))?;
        eprintln!("{}", told(raw, &phases));
        let (mut broken, mut unmeasured) = (Vec::new(), Vec::new());
        for bound in bounds {
            let (name, text) = (bound.name.clone(), &bound.text);
            match bound.verdict(&measures) {
                Verdict::Kept(value) => eprintln!("kept      {name:<24} {value:>10.2}  ({text})"),
                Verdict::Broken(value) => {
                    eprintln!("BROKEN    {name:<24} {value:>10.2}  ({text})");
                    broken.push(name);
                }
                Verdict::NotMeasured => {
                    eprintln!("UNKNOWN   {name:<24} {:>10}  ({text})", "-");
                    unmeasured.push(name);
                }
            }
        }
        if options.quick {
            eprintln!("A quick run: too few samples to hold a promise against");
        }
        Ok(Self {
            kept: (!options.quick).then_some(broken.is_empty() && unmeasured.is_empty()),
            broken,
            unmeasured,
            samples: options.samples,
            seconds: took.as_secs_f64().round(),
            measures: measures
                .into_iter()
                .map(|(name, value)| (name, round(value)))
                .collect(),
            raw: raw_path,
            plot: plot_path,
        })
    }

    /// Whether promises were held against it and broken.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.kept == Some(false)
    }
}

/// Where the files of a run go; their names say when it was.
struct Files<'a> {
    directory: &'a Path,
    at: u64,
}

impl<'a> Files<'a> {
    fn in_directory(directory: &'a Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Error::io("Making", directory))?;
        Ok(Self {
            directory,
            at: since_epoch().as_secs(),
        })
    }

    fn write(&self, what: &str, kind: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.join(format!("{what}-{}.{kind}", self.at));
        fs::write(&path, text).map_err(Error::io("Writing", &path))?;
        Ok(path)
    }
}

/// To a hundredth: what is finer is noise.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measures::tests::raw;

    fn outcome(quick: bool) -> (tempfile::TempDir, Outcome) {
        let out = tempfile::tempdir().unwrap();
        let options = Options {
            samples: 3,
            crowds: vec![1],
            alive: vec![1],
            quick,
            out: out.path().join("new"),
        };
        let outcome = Outcome::of(&raw(), &options, Duration::from_secs(5)).unwrap();
        (out, outcome)
    }

    #[test]
    fn samples_and_plot_are_kept_and_promises_judged() {
        let (_out, outcome) = outcome(false);
        let text = fs::read_to_string(&outcome.raw).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(file["samples"]["runs"].as_array().unwrap().len(), 2);
        assert_eq!(
            file["samples"]["runs"][0]["start"]["phases"][0]["name"],
            "disk"
        );
        assert!(
            fs::read_to_string(&outcome.plot)
                .unwrap()
                .starts_with("<svg ")
        );
        assert_eq!(outcome.kept, Some(outcome.broken.is_empty()));
        assert_eq!(outcome.failed(), !outcome.broken.is_empty());
        assert!(outcome.unmeasured.is_empty(), "{outcome:?}");
    }

    #[test]
    fn a_quick_run_fails_nobody() {
        let (_out, outcome) = outcome(true);
        assert_eq!((outcome.kept, outcome.failed()), (None, false));
    }
}
