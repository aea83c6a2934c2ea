//! `imprint selftest`: restores two clones of one template at once and shows what of them differs.

mod clone;
mod compare;

use factory::start::{Survey, Way};
use hypervisors::Hypervisor;
use serde::Serialize;
use slog::Logger;
use system::error::chain;

use self::{
    clone::Clone,
    compare::{Row, Verdict, compare},
};
use crate::{Outcome, setup::Setup};

/// The answer, as it is printed.
#[derive(Serialize)]
struct Answer {
    /// Whether the clones have nothing in common that they must not.
    unique: bool,
    template_key: String,
    rows: Vec<Row>,
}

/// Prints the table; false if the clones share what they must not, or it is not known.
pub(crate) async fn selftest(setup: &Setup, json: bool, log: &Logger) -> Outcome {
    if !setup.enabled() {
        return Err("vm factory is not enabled (enable_template in [factory])".into());
    }
    let vmm = setup.vmm(log).await?;
    let (template_key, [one, other]) = two_clones(setup, vmm.as_ref(), log).await?;
    let rows = compare(&one, &other);
    // Both are ended even where ending one fails.
    let (end_one, end_other) = tokio::join!(one.end(), other.end());
    end_one.and(end_other)?;
    let answer = Answer {
        unique: rows.iter().all(|row| row.verdict != Verdict::Problem),
        template_key,
        rows,
    };
    if json {
        println!("{}", serde_json::to_string(&answer)?);
    } else {
        print!("{}", told(&answer));
    }
    Ok(answer.unique)
}

/// Key of the template, and two clones of it that were restored beside each other.
async fn two_clones(
    setup: &Setup,
    vmm: &dyn Hypervisor,
    log: &Logger,
) -> Result<(String, [Clone; 2]), String> {
    let spec = setup.spec().await.map_err(|error| chain(&error))?;
    let (one, other) = tokio::join!(setup.survey(&spec, vmm), setup.survey(&spec, vmm));
    let key = restored(&one).and_then(|key| restored(&other).map(|_| key))?;
    let (one, other) = tokio::join!(
        Clone::start(setup, vmm, one, "a", log),
        Clone::start(setup, vmm, other, "b", log),
    );
    Ok((key, [one?, other?]))
}

/// Key of the template that will be restored.
fn restored(survey: &Survey) -> Result<String, String> {
    match survey.plan().way {
        Way::Restore { key, .. } => Ok(key),
        Way::Boot { reason } => Err(format!("There is nothing to restore. {reason}")),
    }
}

fn told(answer: &Answer) -> String {
    let mut text = format!("two clones of template {:.16}\n", answer.template_key);
    let width = answer
        .rows
        .iter()
        .map(|row| row.what.len())
        .max()
        .unwrap_or(0);
    for row in &answer.rows {
        let mark = match row.verdict {
            Verdict::Good => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "PROBLEM",
        };
        let [one, other] = &row.values;
        text.push_str(&format!(
            "{mark:<8}{:<width$}  {}\n{:8}{:width$}  {one}\n{:8}{:width$}  {other}\n",
            row.what, row.says, "", "", "", ""
        ));
    }
    text.push_str(if answer.unique {
        "the clones are unique\n"
    } else {
        "the clones are NOT shown to be unique\n"
    });
    text
}
