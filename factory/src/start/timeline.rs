//! The steps of a pod's start: when each began, and how long it took.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::report::Phase;

/// Makes the enum of steps from the list of their names in reports and metrics.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step of a pod's start. Steps that run in parallel overlap. Those of the VM's start
        /// (`vm.*`) follow one another; after a failed restore, those of the boot follow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum StartStep {
            $($(#[$doc])* $step,)*
        }

        impl StartStep {
            /// All steps, in the order of a start.
            pub const ALL: &[Self] = &[$(Self::$step),*];

            /// The step's name, as in `vm.restore`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)*
                }
            }
        }
    };
}

steps! {
    /// Reading the configuration, and making the sandbox's directory.
    Config = "config",
    /// Making and entering the pod's cgroups.
    Cgroup = "cgroup",
    /// Finding out what the VMM can do.
    Probe = "probe",
    /// Gathering the facts about the node's templates.
    Plan = "plan",
    /// Waiting for a place in the start limit.
    Limit = "limit",
    /// The whole start of the VM, with the `vm.*` steps in it.
    Vm = "vm",
    /// The start of the VMM, and loading the saved state.
    Restore = "vm.restore",
    /// Letting the vCPUs run.
    Resume = "vm.resume",
    /// Waiting until the guest's agent answers.
    Connect = "vm.connect",
    /// Making the clone unique: fresh entropy and the time, acknowledged by the guest.
    Unique = "vm.unique",
    /// Growing to the size that the pod needs.
    Grow = "vm.grow",
    /// A way that failed: from its last step that succeeded until its VM has ended.
    Failed = "vm.failed",
    /// The start of the VMM until it runs the guest's kernel.
    Boot = "vm.boot",
    /// Preparing the first container's root file system.
    Rootfs = "rootfs",
    /// The part of it that packs an image.
    RootfsPack = "rootfs.pack",
    /// Finding the pod's interfaces and connecting them to taps.
    NetworkAttach = "network.attach",
    /// Attaching the interfaces to the VM.
    NetworkDevices = "network.devices",
    /// Setting addresses, by the agent.
    NetworkInterfaces = "network.interfaces",
    /// Setting routes, by the agent.
    NetworkRoutes = "network.routes",
    /// Creating the sandbox in the guest.
    Sandbox = "sandbox",
    /// Attaching the first container's root disk, or putting it into a slot.
    Disk = "disk",
    /// Creating the first container, by the agent.
    Container = "container",
}

impl fmt::Display for StartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The steps of one start, with their times since its beginning.
#[derive(Debug, Clone)]
pub struct Timeline {
    began: Instant,
    phases: Vec<Phase>,
}

impl Timeline {
    /// A timeline without steps that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// Records a step that began at `start` and ends now.
    pub fn ended(&mut self, step: StartStep, start: Instant) {
        self.took(step, start, start.elapsed());
    }

    /// Records a step that began at `start` and took `length`.
    pub fn took(&mut self, step: StartStep, start: Instant, length: Duration) {
        self.phases.push(Phase {
            name: step.name().to_owned(),
            start_ms: ms(start.saturating_duration_since(self.began)),
            ms: ms(length),
        });
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub fn total_ms(&self) -> f64 {
        ms(self.began.elapsed())
    }

    /// The steps so far, in the order in which they ended.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }
}

/// Steps that follow one another: each mark ends one and begins the next.
pub(super) struct Steps<'a> {
    timeline: &'a mut Timeline,
    since: Instant,
}

impl<'a> Steps<'a> {
    /// The first step begins now.
    pub(super) fn begin(timeline: &'a mut Timeline) -> Self {
        Self {
            timeline,
            since: Instant::now(),
        }
    }

    pub(super) fn mark(&mut self, step: StartStep) {
        let now = Instant::now();
        self.timeline.took(step, self.since, now - self.since);
        self.since = now;
    }
}

/// The duration in milliseconds, rounded to a tenth: finer values are noise.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn steps_that_follow_one_another_begin_where_the_one_before_ended() {
        let mut timeline = Timeline::begin();
        let mut steps = Steps::begin(&mut timeline);
        steps.mark(StartStep::Restore);
        steps.mark(StartStep::Failed);
        steps.mark(StartStep::Boot);
        let names: Vec<_> = timeline.phases().iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["vm.restore", "vm.failed", "vm.boot"]);
        for pair in timeline.phases().windows(2) {
            let end = pair[0].start_ms + pair[0].ms;
            assert!((pair[1].start_ms - end).abs() < 0.3, "{pair:?}");
        }
    }

    #[test]
    fn no_two_steps_have_one_name() {
        let names: BTreeSet<_> = StartStep::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), StartStep::ALL.len());
    }
}
