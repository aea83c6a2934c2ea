//! `imprint factory status`: whether VMs are restored, of what, and if not, why not.

use std::time::Duration;

use factory::{
    Template,
    start::{BootReason, StartCounts, StartReport, Way},
};
use hypervisors::{Hypervisor, VmSize, VmSpec};
use serde::Serialize;
use slog::Logger;
use system::{error::chain, time::since_epoch};

use crate::{Outcome, setup::Setup, verify};

/// The answer, as it is printed.
#[derive(Serialize)]
struct Answer {
    enabled: bool,
    /// Whether a pod that asks for nothing special and starts now is restored.
    on: bool,
    template_path: String,
    /// Why such a pod is not restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is there, also what cannot be used.
    templates: Vec<Found>,
    /// Shapes of the configuration for which there is no template that matches, and why.
    missing: Vec<Missing>,
    /// How the pods of this node were started.
    starts: StartCounts,
}

/// What lies in the template directory.
#[derive(Serialize)]
struct Found {
    directory: String,
    shape: VmSize,
    key: String,
    nonce: String,
    /// Seconds since the epoch.
    created: u64,
    made_from: Vec<(&'static str, String)>,
    /// With `--verify`: the restore that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<StartReport>,
}

#[derive(Serialize)]
struct Missing {
    shape: String,
    reason: String,
}

impl Found {
    fn new(template: &Template) -> Self {
        let manifest = template.manifest();
        Self {
            directory: template.dir().display().to_string(),
            shape: template.size(),
            key: manifest.key.clone(),
            nonce: manifest.nonce.clone(),
            created: manifest.created,
            made_from: manifest.made_from(),
            verified: None,
        }
    }
}

pub(crate) async fn status(setup: &Setup, options: &crate::Status, log: &Logger) -> Outcome {
    let (answer, good) = answer(setup, options.verify, log).await;
    if options.json {
        println!("{}", serde_json::to_string(&answer)?);
    } else {
        print(&answer);
    }
    Ok(good || !options.verify)
}

/// The answer, and whether every configured shape has a template that can be relied on.
async fn answer(setup: &Setup, verify: bool, log: &Logger) -> (Answer, bool) {
    let mut answer = Answer {
        enabled: setup.enabled(),
        on: false,
        template_path: setup.store.path().display().to_string(),
        reason: None,
        templates: Vec::new(),
        missing: Vec::new(),
        starts: StartCounts::read(&setup.config.runtime.run_root),
    };
    if !answer.enabled {
        answer.reason = Some(BootReason::Disabled.to_string());
        return (answer, false);
    }
    let looked = match setup.vmm(log).await {
        Ok(vmm) => {
            let node = Node {
                setup,
                vmm: vmm.as_ref(),
                log,
            };
            answer.look(&node, verify).await
        }
        Err(error) => Err(chain(&error)),
    };
    if let Err(reason) = looked {
        answer.reason = Some(reason);
    }
    let good = answer.on && answer.missing.is_empty();
    (answer, good)
}

impl Answer {
    /// Looks for the template of each shape, and for that of a pod that asks for nothing.
    ///
    /// # Errors
    /// Why such a pod is not restored.
    async fn look(&mut self, node: &Node<'_>, verify: bool) -> Result<(), String> {
        let specs = tokio::try_join!(node.setup.spec(), node.setup.template_specs());
        let (usual, shapes) = specs.map_err(|error| chain(&error))?;
        for spec in shapes {
            match node.template_of(&spec, verify).await {
                Ok(found) => self.add(found),
                Err(reason) => self.missing.push(Missing {
                    shape: spec.size().to_string(),
                    reason,
                }),
            }
        }
        // It may be none of the configured shapes, or of another time.
        let mut found = node.template_of(&usual, false).await?;
        if verify && !self.has(&found) {
            found = node.template_of(&usual, true).await?;
        }
        self.on = true;
        self.add(found);
        Ok(())
    }

    fn has(&self, found: &Found) -> bool {
        let known = |one: &Found| one.directory == found.directory;
        self.templates.iter().any(known)
    }

    fn add(&mut self, found: Found) {
        if !self.has(&found) {
            self.templates.push(found);
        }
    }
}

/// The node, as the configuration and the VMM describe it.
struct Node<'a> {
    setup: &'a Setup,
    vmm: &'a dyn Hypervisor,
    log: &'a Logger,
}

impl Node<'_> {
    /// The template that a pod with this VM would be restored from, or why there is none.
    async fn template_of(&self, spec: &VmSpec, verify: bool) -> Result<Found, String> {
        let survey = self.setup.survey(spec, self.vmm).await;
        if let Way::Boot { reason } = survey.plan().way {
            return Err(reason.to_string());
        }
        let template = survey.template().ok_or("The template is gone")?;
        let mut found = Found::new(template);
        if verify {
            let verified = verify::verify(self.setup, self.vmm, spec, survey, self.log).await?;
            found.verified = Some(verified);
        }
        Ok(found)
    }
}

fn print(answer: &Answer) {
    println!(
        "{}",
        match (answer.enabled, answer.on) {
            (false, _) => "vm factory is not enabled",
            (true, true) => "vm factory is on",
            (true, false) => "vm factory is off",
        }
    );
    if let Some(reason) = answer.reason.as_ref().filter(|_| answer.enabled) {
        println!("reason: {reason}");
    }
    for found in &answer.templates {
        println!("template: {}", found.directory);
        println!("key: {}", found.key);
        println!("shape: {}", found.shape);
        println!("age: {}", age(found.created));
        for (name, value) in &found.made_from {
            println!("{name}: {value}");
        }
        if let Some(report) = &found.verified {
            let (proof, phases) = (&report.proof, report.phases_line());
            println!("verified: memory is as saved; {proof}; {phases}");
        }
    }
    let told = |missing: &&Missing| Some(&missing.reason) == answer.reason.as_ref();
    for missing in answer.missing.iter().filter(|missing| !told(missing)) {
        println!("no template of {}: {}", missing.shape, missing.reason);
    }
    print_starts(&answer.starts);
}

fn print_starts(starts: &StartCounts) {
    let booted: u64 = starts.booted.values().sum();
    if starts.restored + booted == 0 {
        return;
    }
    println!("pods restored: {}", starts.restored);
    let reasons: Vec<_> = starts
        .booted
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    match booted {
        0 => println!("pods booted: 0"),
        _ => println!("pods booted: {booted} ({})", reasons.join(", ")),
    }
    if let Some(last) = starts.last_boots.last() {
        // Both may hold what a guest or a caller said.
        let (id, reason) = (last.id.escape_debug(), last.reason.escape_debug());
        println!("last boot: {id}, {} ago: {reason}", age(last.at));
    }
}

fn age(created: u64) -> String {
    let now = since_epoch().as_secs();
    let minutes = Duration::from_secs(now.saturating_sub(created)).as_secs() / 60;
    match minutes {
        0 => "less than a minute".to_owned(),
        1..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_the_unit_that_fits() {
        let now = since_epoch().as_secs();
        assert_eq!(age(now + 10), "less than a minute");
        assert_eq!(age(now - 300), "5 min");
        assert_eq!(age(now - 3 * 3600), "3 h");
        assert_eq!(age(now - 3 * 86400), "3 days");
    }
}
