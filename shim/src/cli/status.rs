//! `imprint factory status`: whether VMs are restored, of what, and if not, why not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use factory::{BootReason, StartPlan, Template, chain};
use serde::Serialize;
use slog::Logger;

use crate::{Outcome, setup::Setup, verify};

/// The answer, as it is printed.
#[derive(Serialize)]
struct Answer {
    enabled: bool,
    /// Whether a pod that starts now is restored.
    on: bool,
    template_path: String,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<Found>,
    /// What was verified: the phases of the restore that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<factory::StartRecord>,
}

#[derive(Serialize)]
struct Found {
    directory: String,
    key: String,
    nonce: String,
    /// Seconds since the epoch.
    created: u64,
    made_from: Vec<(&'static str, String)>,
}

impl Found {
    fn new(template: &Template) -> Self {
        let manifest = template.manifest();
        Self {
            directory: template.dir().display().to_string(),
            key: manifest.key.clone(),
            nonce: manifest.nonce.clone(),
            created: manifest.created,
            made_from: manifest.made_from(),
        }
    }
}

pub(crate) async fn status(setup: &Setup, options: &crate::Status, log: &Logger) -> Outcome {
    let answer = answer(setup, options.verify, log).await;
    if options.json {
        println!("{}", serde_json::to_string(&answer)?);
    } else {
        print(&answer);
    }
    Ok(!options.verify || answer.on)
}

async fn answer(setup: &Setup, verify: bool, log: &Logger) -> Answer {
    let mut answer = Answer {
        enabled: setup.enabled(),
        on: false,
        template_path: setup.store.path().display().to_string(),
        reason: None,
        template: None,
        verified: None,
    };
    if !answer.enabled {
        answer.reason = Some(BootReason::Disabled.to_string());
        return answer;
    }
    let qemu = match setup.qemu(log).await {
        Ok(qemu) => qemu,
        Err(error) => {
            answer.reason = Some(chain(&error));
            return answer;
        }
    };
    match factory::choose(true, &setup.store, &qemu, &setup.spec()).await {
        StartPlan::Boot(reason) => answer.reason = Some(reason.to_string()),
        StartPlan::Restore(template) => {
            answer.template = Some(Found::new(&template));
            answer.on = true;
            if verify {
                match verify::verify(setup, &qemu, *template, log).await {
                    Ok(record) => answer.verified = Some(record),
                    Err(reason) => {
                        answer.on = false;
                        answer.reason = Some(reason);
                    }
                }
            }
        }
    }
    answer
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
    if let Some(template) = &answer.template {
        println!("template: {}", template.directory);
        println!("key: {}", template.key);
        println!("age: {}", age(template.created));
        for (name, value) in &template.made_from {
            println!("{name}: {value}");
        }
    }
    if let Some(record) = &answer.verified {
        println!(
            "verified: memory is as saved; {}; {}",
            record.proof,
            record.phases_line()
        );
    }
}

fn age(created: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
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
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert_eq!(age(now + 10), "less than a minute");
        assert_eq!(age(now - 300), "5 min");
        assert_eq!(age(now - 3 * 3600), "3 h");
        assert_eq!(age(now - 3 * 86400), "3 days");
    }
}
