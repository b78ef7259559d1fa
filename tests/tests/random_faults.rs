//! Random faults against pods under load: a minute of them in every run of all tests, any length with
//! `knm-chaos`. What must hold is said in [`knm_tests::chaos`].
//!
//! A failure names its seed; `knm-chaos --seed N` with the same options plays the same plan again.

use std::time::Duration;

use knm_tests::chaos::{Options, Report, run};

const SHARE: Duration = Duration::from_secs(20);

async fn survives(options: Options) -> Report {
    let report = run(Options { duration: SHARE, ..options }).await;
    report.unwrap_or_else(|violations| panic!("{violations:#}"))
}

/// Also: commits that carry NOTIFY are at most a tenth of the item changes.
#[tokio::test(flavor = "multi_thread")]
async fn alone_fifty_tasks_of_200_nodes_on_two_pods_survive_random_faults() {
    let report = survives(Options { seed: 3, ..Options::default() }).await;
    assert!(report.tasks >= 50 && report.items == report.tasks * 200, "{report}");
    assert!(report.changes_per_commit() >= 10.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_few_tasks_on_three_pods_survive_a_known_seed() {
    let options =
        Options { seed: 20, tasks: 6, nodes: 60, pods: 3, clients: 9, ..Options::default() };
    let report = survives(options).await;
    assert!(report.tasks >= 6, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_tasks_survive_a_fresh_seed() {
    let seed = u64::from(rand::random::<u32>());
    let options = Options { seed, tasks: 10, nodes: 100, ..Options::default() };
    println!(
        "fresh seed: knm-chaos --seed {seed} --duration {}s --tasks {} --nodes {}",
        SHARE.as_secs(),
        options.tasks,
        options.nodes
    );
    let report = survives(options).await;
    assert!(report.tasks >= 10, "{report}");
}
