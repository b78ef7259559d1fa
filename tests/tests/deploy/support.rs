//! What several of these tests do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use knm_shared::ids::TaskId;
use knm_shared::status::TaskStatus;
use knm_tests::api::Api;
use knm_tests::invariants::Rows;
use knm_tests::pod::{Program, program};
use knm_tests::scenario::World;
use serde_json::Value;

/// For whatever has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Where the built programs are.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    program(Program::Relay)?;
    Ok(program(Program::Api)?.parent().context("a folder")?.to_owned())
}

/// Submits a task and waits for its end, checking every frame and the rows.
pub(crate) async fn run(world: &World, api: &Api, body: &Value) -> anyhow::Result<TaskId> {
    let id = api.submit(body).await.with_context(|| body.to_string())?;
    finish(world, api, id).await?;
    Ok(id)
}

/// Waits for the end of a task that has to be completed.
pub(crate) async fn finish(world: &World, api: &Api, id: TaskId) -> anyhow::Result<Rows> {
    let address = world.pods.last().context("a pod")?.relay.address();
    let mut watcher = knm_tests::ws::Watcher::new(address, api.token()?);
    watcher.subscribe(id).await?;
    watcher.until_all_complete(SOON).await?;
    let rows = world.check_final(&watcher, id).await?;
    anyhow::ensure!(rows.status == TaskStatus::Completed, "{rows:?}");
    Ok(rows)
}
