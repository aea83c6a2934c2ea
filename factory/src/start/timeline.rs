//! When each step of a pod's start began, and how long it took.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::report::Phase;

/// The steps, each with its name in reports and metrics: what is not in this list is not recorded.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident = $name:literal,)*) => {
        /// A step of a pod's start. Steps overlap where work goes on beside other work. Those of the
        /// VM's start (`vm.*`) follow one another; after a restore that failed, those of the boot
        /// follow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum StartStep {
            $($(#[$doc])* $step,)*
        }

        impl StartStep {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$step),*];

            /// Its name.
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
    /// Reading the configuration, making the sandbox's directory.
    Config = "config",
    /// Making and entering the pod's cgroups.
    Cgroup = "cgroup",
    /// Finding out what the VMM can do.
    Probe = "probe",
    /// Looking at the node's templates.
    Plan = "plan",
    /// The wait for the node's other starts.
    Limit = "turn",
    /// All of the VM's start.
    Vm = "vm",
    /// The VMM's start, and the load of the saved state.
    Restore = "vm.restore",
    /// Letting the vCPUs run.
    Resume = "vm.resume",
    /// The guest's agent answers.
    Connect = "vm.connect",
    /// Fresh entropy and the time, acknowledged by the guest.
    Unique = "vm.unique",
    /// Growing to the size that the pod needs.
    Grow = "vm.grow",
    /// What a way that failed took since its last step, with the end of its VM.
    Failed = "vm.failed",
    /// The VMM's start, and the start of the kernel.
    Boot = "vm.boot",
    /// Preparing the first container's root file system.
    Rootfs = "rootfs",
    /// Of that, making an image.
    RootfsPack = "rootfs.pack",
    /// Finding the pod's interfaces and joining them to taps.
    NetworkAttach = "network.attach",
    /// Giving the VM its interfaces.
    NetworkDevices = "network.devices",
    /// The agent sets addresses.
    NetworkInterfaces = "network.interfaces",
    /// The agent sets routes.
    NetworkRoutes = "network.routes",
    /// Opening the sandbox in the guest.
    Sandbox = "sandbox",
    /// Giving the VM the first container's root disk.
    Disk = "disk",
    /// The agent makes the first container.
    Container = "container",
}

impl fmt::Display for StartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Steps with their times, since a common beginning.
#[derive(Debug, Clone)]
pub struct Timeline {
    began: Instant,
    phases: Vec<Phase>,
}

impl Timeline {
    /// Begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// Records a step that ends now.
    pub fn ended(&mut self, step: StartStep, start: Instant) {
        self.took(step, start, start.elapsed());
    }

    /// Records a step by its length.
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
    /// Begins now.
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

/// To a tenth of a millisecond: what is finer says nothing.
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
