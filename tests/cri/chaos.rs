//! Kills at moments that nobody chose: whatever is killed, whenever, the next Stop and Remove
//! succeed and nothing is left.

use std::{
    fmt,
    os::fd::AsFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use e2e_tests::harness::Case;
use playground::{
    Error, Result,
    cri::{Kubelet, Pod},
    ensure,
    node::Node,
    proc::Process,
    settings::Settings,
    wait::{Deadline, readable},
};

use crate::{crowd::number, pods::SERVICE};

/// How long something that was killed may take to be gone with all that was its.
const TIMEOUT: Duration = Duration::from_secs(20);

pub fn cases() -> Vec<Case> {
    // Not of restored pods alone: one whose VMM is killed while it is restored boots.
    vec![Case::new("death::at_any_moment", at_any_moment)]
}

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Vmm,
    Shim,
    Containerd,
}

/// What goes on meanwhile.
#[derive(Debug, Clone, Copy)]
enum During {
    Create,
    Exec,
    Stop,
}

/// One try.
#[derive(Debug, Clone, Copy)]
struct Round {
    seed: u64,
    victim: Victim,
    during: During,
    after: Duration,
}

impl Round {
    fn of(seed: u64) -> Self {
        let mut random = seed;
        // xorshift64*: anything that spreads a seed will do.
        let mut draw = |sides: u64| {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
        };
        draw(2);
        let victim = [Victim::Vmm, Victim::Shim, Victim::Containerd][draw(3) as usize];
        let during = [During::Create, During::Exec, During::Stop][draw(3) as usize];
        let most = match during {
            During::Create => 2500,
            During::Exec => 1500,
            During::Stop => 400,
        };
        Self {
            seed,
            victim,
            during,
            after: Duration::from_millis(draw(most)),
        }
    }

    /// Lets the moment come.
    fn wait(&self) -> Result<()> {
        let (reader, _writer) = std::io::pipe().map_err(Error::io("Making", "a pipe"))?;
        match readable(reader.as_fd(), Deadline::after(self.after), "the moment") {
            Err(Error::Timeout { .. }) => Ok(()),
            other => other,
        }
    }

    fn strike(&self, node: &Node) -> Result<usize> {
        let kill = |victims: Vec<Process>| {
            let count = victims.len();
            victims.iter().try_for_each(Process::kill)?;
            Ok(count)
        };
        match self.victim {
            Victim::Vmm => kill(node.vmms()),
            Victim::Shim => kill(node.shims()),
            Victim::Containerd => node.containerd().replace().map(|()| 1),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            victim,
            during,
            after,
        } = self;
        write!(
            f,
            "seed {seed}: {victim:?} killed {after:?} into {during:?}"
        )
    }
}

fn at_any_moment(node: &Node) -> Result<()> {
    node.configure(&Settings {
        enable_template: true,
        ..node.settings()
    })?;
    let had_one = node.settings().template_path.join("memory").exists();
    node.ensure_template()?;
    let outcome = rounds(node);
    if !had_one {
        node.imprint(&["factory", "destroy"]).succeed()?;
    }
    outcome
}

fn rounds(node: &Node) -> Result<()> {
    let rounds = number("IMPRINT_CRI_KILLS", 6);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let first = number("IMPRINT_CRI_SEED", usize::try_from(now).unwrap_or_default());
    for seed in first..first + rounds {
        let round = Round::of(seed as u64);
        let outcome = one(node, &round);
        println!("    {round}: {}", outcome.as_deref().unwrap_or("failed"));
        outcome.map_err(|error| Error::Unexpected(format!("{round}: {}", error.chain())))?;
    }
    Ok(())
}

/// Kills, and sees to what is left. Answers what became of the pod meanwhile.
fn one(node: &Node, round: &Round) -> Result<String> {
    let before = node.snapshot()?;
    let told = live(node, round, &Kubelet::new(node))?;
    let left = before.left_since(TIMEOUT)?;
    ensure!(left.is_empty(), "{left}");
    Ok(told)
}

fn live(node: &Node, round: &Round, kubelet: &Kubelet) -> Result<String> {
    let (pod, told) = match round.during {
        During::Create => during_create(node, round, kubelet)?,
        During::Exec | During::Stop => during_life(node, round, kubelet)?,
    };
    kubelet.cri().ready()?;
    for pod in kubelet.cri().pods()? {
        kubelet.cri().stop_pod(&pod.id)?;
        kubelet.cri().remove_pod(&pod.id)?;
    }
    if let Some(pod) = pod {
        pod.was_removed();
    }
    let pods = kubelet.cri().pods()?;
    ensure!(pods.is_empty(), "A pod is left: {pods:?}");
    Ok(told)
}

type Told<'a> = (Option<Pod<'a>>, String);

fn during_create<'a>(node: &Node, round: &Round, kubelet: &'a Kubelet) -> Result<Told<'a>> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let making = scope.spawn(|| {
            let made = kubelet.run("chaos").map(|pod| {
                let started = pod.start("one", SERVICE).map(drop);
                (pod, started)
            });
            done.store(true, Ordering::SeqCst);
            made
        });
        round.wait()?;
        let late = done.load(Ordering::SeqCst);
        let killed = round.strike(node)?;
        let (pod, outcome) = match making.join() {
            Ok(Ok((pod, Ok(())))) => (Some(pod), "made".to_owned()),
            Ok(Ok((pod, Err(error)))) => (Some(pod), brief(&error)),
            Ok(Err(error)) => (None, brief(&error)),
            Err(_) => return Err(Error::Unexpected("A thread was lost".to_owned())),
        };
        let late = if late { ", when it was over" } else { "" };
        Ok((pod, format!("{killed} killed{late}; {outcome}")))
    })
}

fn during_life<'a>(node: &Node, round: &Round, kubelet: &'a Kubelet) -> Result<Told<'a>> {
    let pod = kubelet.run("chaos")?;
    let container = pod.start("one", SERVICE)?;
    let told = thread::scope(|scope| {
        let asking = scope.spawn(|| match round.during {
            During::Stop => pod.stop(),
            _ => (0..20).try_for_each(|_| container.exec(&["true"]).map(drop)),
        });
        round.wait()?;
        let killed = round.strike(node)?;
        let asked = asking.join().unwrap_or(Ok(()));
        let outcome = asked.map_or_else(|error| brief(&error), |()| "done".to_owned());
        Ok(format!("{killed} killed; {outcome}"))
    });
    Ok((Some(pod), told?))
}

/// The end of an error says what it comes down to.
fn brief(error: &Error) -> String {
    let text = error.to_string();
    let skip = text.chars().count().saturating_sub(100);
    text.chars().skip(skip).collect()
}
