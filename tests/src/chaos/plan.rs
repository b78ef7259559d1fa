//! Which faults come when: decided by the seed and the options alone, before anything runs.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Options;
use super::fault::{
    Act, Fault, Forgery, KubeTrouble, Lane, Link, LockedRows, Part, Role, Trouble, Way,
};
use crate::postgres::Shutdown;

/// The longest pause between two tries of a node (10 s) and the try itself: the Kubernetes API is left
/// alone for so long, or several faults of it would be one to a node that is waiting.
const RECOVERY: Duration = Duration::from_secs(15);

/// A fault and the pause before it, in which the system is left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Time since the end of the fault before, or since the start.
    pub gap: Duration,
    /// What happens.
    pub fault: Fault,
}

/// All faults of a run. Within a lane one comes after the other; lanes run side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// One lane, or with `overlap` one for each lane.
    pub lanes: Vec<Vec<Step>>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let lanes: Vec<&[Lane]> =
            if options.overlap { Lane::ALL.chunks(1).collect() } else { vec![Lane::ALL] };
        let lane = |(number, kinds): (u64, &[Lane])| {
            let mut dice = Dice {
                rng: StdRng::seed_from_u64(options.seed ^ (number << 32)),
                pods: options.pods,
                longest: options.duration / 5,
            };
            let mut steps = Vec::new();
            let mut at = Duration::ZERO;
            let mut calm_until = Duration::ZERO;
            while at < options.duration {
                let kind = dice.one_of(kinds);
                let step = Step { gap: dice.millis(1_500, 5_000), fault: dice.fault(kind) };
                let begins = at + step.gap;
                if step.fault.disturbs_kubernetes() {
                    if begins < calm_until && !options.overlap {
                        continue;
                    }
                    calm_until = begins + step.fault.lasts() + RECOVERY;
                }
                at = begins + step.fault.lasts();
                steps.push(step);
            }
            steps
        };
        Self { lanes: (0..).zip(lanes).map(lane).collect() }
    }

    /// How many faults there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Dice {
    rng: StdRng,
    pods: usize,
    /// No fault takes more than this of a short run.
    longest: Duration,
}

impl Dice {
    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=to)).min(self.longest)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Mostly short, at times beyond every timeout and beyond the lease (15 s).
    fn hold(&mut self) -> Duration {
        match self.rng.random_range(0..100) {
            0..55 => self.millis(200, 3_000),
            55..85 => self.millis(3_000, 9_000),
            _ => self.millis(16_000, 22_000),
        }
    }

    fn fault(&mut self, lane: Lane) -> Fault {
        match lane {
            Lane::Processes => self.process(),
            Lane::Network => self.network(),
            Lane::Database => self.database(),
            Lane::Kubernetes => self.kubernetes(),
        }
    }

    fn process(&mut self) -> Fault {
        let part = self.one_of(&[Part::Api, Part::Api, Part::Relay, Part::Both]);
        let act = match self.rng.random_range(0..3) {
            0 => Act::Kill { down: self.millis(0, 4_000) },
            1 => Act::Pause { hold: self.hold() },
            _ => Act::Terminate { down: self.millis(0, 2_000) },
        };
        Fault::Process { pod: self.rng.random_range(0..self.pods), part, act }
    }

    fn network(&mut self) -> Fault {
        let link = self.one_of(&Link::ALL);
        let way = self.one_of(&[Way::ToServer, Way::ToClient]);
        let trouble = match self.rng.random_range(0..10) {
            0 => Trouble::Cut,
            1 => Trouble::Reset,
            2 => Trouble::HalfClose(way),
            3 | 4 => Trouble::BlackHole(self.one_of(&[Way::ToServer, Way::ToClient, Way::Both])),
            5 => Trouble::Delay(self.millis(20, 1_500)),
            6 => Trouble::Throttle { bytes_per_second: self.rng.random_range(2_000..60_000) },
            7 => Trouble::Torn { bytes: self.rng.random_range(1..200) },
            8 => Trouble::Swallow(way),
            _ => Trouble::Refuse,
        };
        let hold = if trouble.lasts() { self.hold() } else { Duration::ZERO };
        Fault::Network { pod: self.rng.random_range(0..self.pods), link, trouble, hold }
    }

    fn database(&mut self) -> Fault {
        match self.rng.random_range(0..10) {
            0 => Fault::Postgres { how: Shutdown::Fast, down: self.millis(0, 4_000) },
            1 => Fault::Postgres { how: Shutdown::Immediate, down: self.millis(0, 4_000) },
            2..5 => Fault::Backends {
                role: self.one_of(&Role::ALL),
                times: if self.chance(30) { self.rng.random_range(2..6) } else { 1 },
            },
            5..8 => Fault::Locks {
                rows: self.one_of(&[LockedRows::Tasks, LockedRows::Items]),
                count: self.rng.random_range(1..12),
                hold: self.hold(),
            },
            _ => Fault::Forged {
                what: self.one_of(&Forgery::ALL),
                count: self.rng.random_range(1..20),
            },
        }
    }

    fn kubernetes(&mut self) -> Fault {
        let percent = self.rng.random_range(10..=60);
        let trouble = match self.rng.random_range(0..10) {
            0 => KubeTrouble::Status { code: 409, percent },
            1 => KubeTrouble::Status { code: 429, percent },
            2 => KubeTrouble::Status { code: 500, percent },
            3 => KubeTrouble::Status { code: 503, percent },
            4 => KubeTrouble::Close { percent },
            5 | 6 => KubeTrouble::LoseAnswer { percent },
            7 => KubeTrouble::Hang { percent: percent / 4 + 1 },
            8 => KubeTrouble::DropWatches,
            _ => KubeTrouble::Compact,
        };
        let hold = if trouble.lasts() { self.millis(1_000, 10_000) } else { Duration::ZERO };
        Fault::Kubernetes { trouble, hold }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(seed: u64) -> Options {
        Options { seed, duration: Duration::from_secs(600), ..Options::default() }
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(Plan::of(&options(7)), Plan::of(&options(7)));
        assert_ne!(Plan::of(&options(7)), Plan::of(&options(8)));
    }

    #[test]
    fn a_plan_fills_its_time_and_every_kind_of_fault_occurs() {
        let mut kinds = BTreeSet::new();
        for seed in 0..20 {
            let plan = Plan::of(&options(seed));
            assert_eq!(plan.lanes.len(), 1, "one fault at a time");
            let total: Duration = plan.lanes[0].iter().map(|s| s.gap + s.fault.lasts()).sum();
            assert!(total >= Duration::from_secs(600), "{total:?}");
            kinds.extend(plan.lanes[0].iter().map(|s| s.fault.kind()));
        }
        let all = ["kill", "pause", "terminate", "postgres", "backends", "locks", "forged"];
        let network = ["cut", "reset", "half-close", "black hole", "delay", "throttle", "torn"];
        let others = ["swallow", "refuse", "status", "close", "lose answer", "hang", "watches"];
        for kind in all.iter().chain(&network).chain(&others) {
            assert!(kinds.contains(kind), "{kind} never occurs: {kinds:?}");
        }
    }

    #[test]
    fn overlapping_faults_have_a_lane_each() {
        let plan = Plan::of(&Options { overlap: true, ..options(7) });
        assert_eq!(plan.lanes.len(), Lane::ALL.len());
        for (steps, lane) in plan.lanes.iter().zip(Lane::ALL) {
            assert!(steps.iter().all(|s| s.fault.lane() == *lane));
        }
    }
}
