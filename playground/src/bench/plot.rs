//! The phases side by side, as SVG: a panel for each kind of start, a bar for each step.

use std::fmt::Write;

use super::phases::Phases;

const PANEL_WIDTH: usize = 620;
const LABELS: usize = 170;
const BAR: usize = 14;
const ROW: usize = 18;
const HEAD: usize = 46;
const GAP: usize = 20;
/// Ticks of an axis.
const TICKS: usize = 5;

/// Draws all panels, two in a row: what was booted to the left, what was restored to the right.
pub(super) fn svg(all: &[Phases]) -> String {
    let half = all.len().div_ceil(2);
    let rows = all.iter().map(|one| one.steps.len() + 1).max().unwrap_or(0);
    let panel_height = HEAD + rows * ROW + GAP;
    let (width, height) = (2 * PANEL_WIDTH + GAP, half.max(1) * panel_height + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, one) in all.iter().enumerate() {
        let (column, row) = (number / half, number % half);
        let (x, y) = (column * (PANEL_WIDTH + GAP), row * panel_height);
        let _ = writeln!(text, "<g transform=\"translate({x},{y})\">");
        panel(&mut text, one, rows);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

/// Each panel has an axis of its own: a restored start would be a line beside a booted one.
fn panel(text: &mut String, phases: &Phases, rows: usize) {
    let span = phases.measured_ms.max(1.0);
    let room = (PANEL_WIDTH - LABELS - GAP) as f64;
    let at = |ms: f64| LABELS as f64 + ms.clamp(0.0, span) / span * room;
    let title = format!(
        "{} {}: {:.0} ms (median), of which {:.0} in the shim",
        phases.client,
        phases.way.name(),
        phases.measured_ms,
        phases.shim_ms
    );
    let _ = writeln!(
        text,
        "<text x=\"8\" y=\"18\" font-size=\"13\" font-weight=\"bold\">{}</text>",
        escaped(&title)
    );
    for tick in 0..=TICKS {
        let ms = span * tick as f64 / TICKS as f64;
        let (x, bottom) = (at(ms), HEAD + rows * ROW);
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{ms:.0}</text>",
            HEAD - 6
        );
    }
    let steps = phases.steps.iter();
    let bars = steps.map(|step| (step.name.as_str(), step.start_ms, step.ms));
    let around = ("around the shim", phases.shim_ms, phases.around_ms());
    for (row, (name, start, ms)) in bars.chain([around]).enumerate() {
        let colour = match name.split_once('.') {
            _ if name == around.0 => "#999",
            // A part of the step whose name it begins with.
            Some(_) => "#9ecae1",
            None => "#3182bd",
        };
        let y = HEAD + row * ROW + (ROW - BAR) / 2;
        let (x, end) = (at(start), at(start + ms));
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} {ms:.1}</text>\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
            LABELS - 6,
            y + BAR - 3,
            escaped(name),
            (end - x).max(0.5)
        );
    }
}

/// Names of phases come from a file.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_control()) {
        match character {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            plain => safe.push(plain),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        phases::{Step, tests::raw},
        sample::Way,
    };

    #[test]
    fn every_step_has_its_bar_and_no_name_is_markup() {
        let mut all = Phases::of(&raw());
        all[1].steps.push(Step {
            name: "a<b>&\"c".to_owned(),
            start_ms: 1.0,
            ms: 2.0,
        });
        let drawn = svg(&all);
        // One for the ground, one for each step, one for what is around them.
        let bars = all.iter().map(|one| one.steps.len() + 1).sum::<usize>() + 1;
        assert_eq!(drawn.matches("<rect ").count(), bars);
        assert!(drawn.contains("a&lt;b&gt;&amp;&quot;c 2.0"), "{drawn}");
        assert!(drawn.contains("ctr run booted: 2100 ms"), "{drawn}");
        assert_eq!(drawn.matches("<g ").count(), drawn.matches("</g>").count());
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn a_bar_ends_where_its_panel_does() {
        let late = Phases {
            client: "ctr run",
            way: Way::Restored,
            measured_ms: 100.0,
            shim_ms: 90.0,
            steps: vec![Step {
                name: "late".to_owned(),
                start_ms: 80.0,
                ms: 500.0,
            }],
        };
        let drawn = svg(&[late]);
        // 80 to 100 of 100 ms, of the room that labels and margins leave.
        assert!(
            drawn.contains("x=\"514.0\" y=\"48\" width=\"86.0\""),
            "{drawn}"
        );
        assert!(svg(&[]).ends_with("</svg>\n"));
    }
}
