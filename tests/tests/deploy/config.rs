//! The shipped configuration files, and that both containers go by the same one.

use anyhow::{Context as _, ensure};
use knm_shared::config::{Config, load_with};
use knm_tests::pod::Container;
use knm_tests::scenario::World;
use knm_tests::scratch;
use serde_json::json;

use crate::support::{SOON, root};

fn shipped(path: &str) -> anyhow::Result<Config> {
    let folder = scratch::dir("config")?;
    // The certificate is mounted in a cluster, and has to be there.
    let (file, ca) = (folder.join("config.yaml"), folder.join("ca.crt"));
    std::fs::write(&ca, "")?;
    let text = std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
    std::fs::write(&file, text.replace("/etc/postgres-ca/ca.crt", &ca.display().to_string()))?;
    let env = |name: &str| (name == "DB_PASSWORD").then(|| "secret".to_owned());
    let loaded = load_with(Some(&file), &env).with_context(|| path.to_owned())?;
    ensure!(loaded.warnings.is_empty(), "{path}: {:?}", loaded.warnings);
    ensure!(loaded.config.database.password.expose() == "secret", "{path}");
    Ok(loaded.config)
}

#[test]
fn the_file_with_every_key_says_what_the_short_one_leaves_out() -> anyhow::Result<()> {
    let short = shipped("deploy/base/configs/config.yaml")?;
    let every = shipped("deploy/base/configs/config-multi-replica.yaml")?;
    assert_eq!(format!("{every:#?}"), format!("{short:#?}"));
    Ok(())
}

#[test]
fn every_overlays_file_can_be_used() -> anyhow::Result<()> {
    let mut found = 0;
    for overlay in std::fs::read_dir(root().join("deploy/overlays"))? {
        let path = overlay?.path().join("config.yaml");
        if path.is_file() {
            shipped(path.strip_prefix(root())?.to_str().context("a path")?)?;
            found += 1;
        }
    }
    ensure!(found >= 2, "{found}");
    Ok(())
}

async fn sha(container: &Container) -> anyhow::Result<String> {
    let metrics = container.admin("/metrics").await?.text();
    let line = metrics.lines().find(|line| line.starts_with("knm_config_info{"));
    Ok(line.context("knm_config_info")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_changed_in_the_file_changes_both_containers() -> anyhow::Result<()> {
    let mut world = World::new("one_file").nodes(1).start().await?;
    let mut options = world.pod_options().await?;
    options.config = json!({"log": {"format": "json"}});
    let other = knm_tests::pod::Pod::run(&world.database, &options).await?;
    world.pods.push(other);
    let [before, after] = &world.pods[..] else { anyhow::bail!("two pods") };
    let shas = [sha(&before.api).await?, sha(&before.relay).await?];
    let changed = [sha(&after.api).await?, sha(&after.relay).await?];
    assert_eq!(shas[0], shas[1]);
    assert_eq!(changed[0], changed[1]);
    assert_ne!(shas, changed);
    for container in [&after.api, &after.relay] {
        let line = container.log().wait_for("\"level\":\"INFO\"", SOON).await?;
        ensure!(line.starts_with('{'), "{line}");
    }
    world.stop().await
}
