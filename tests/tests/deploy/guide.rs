//! The commands of the guides, run: those about pods on pods that are processes, those about files with
//! the real kubectl, those in SQL on the database. `<!-- run: … -->` above a block says which it is.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use knm_shared::phrases;
use knm_tests::pod::Pod;
use knm_tests::postgres::ClusterOptions;
use knm_tests::scenario::World;
use knm_tests::scratch;

use crate::support::{SOON, finish, programs, root};

const GUIDES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// A marked block of a guide.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// The blocks of a guide that are marked with `<!-- run: KIND -->`.
pub(crate) fn blocks(guide: &str, kind: &str) -> anyhow::Result<Vec<Block>> {
    let text = std::fs::read_to_string(root().join("deploy").join(guide)).context("a guide")?;
    let mark = format!("<!-- run: {kind} -->");
    let mut lines = text.lines().enumerate();
    let mut found = Vec::new();
    while let Some((line, _)) = lines.find(|(_, text)| *text == mark) {
        let fence = lines.next().context("the guide ends with a mark")?.1;
        ensure!(fence.starts_with("```"), "{guide}:{line}: no block follows the mark");
        let block: Vec<_> = lines.by_ref().map(|(_, t)| t).take_while(|t| *t != "```").collect();
        found.push(Block { line: line + 2, text: block.join("\n") });
    }
    ensure!(!found.is_empty(), "{guide} has no block that is run as {kind}");
    Ok(found)
}

/// A folder in which the stand-in for kubectl finds the pods, and the environment that leads there.
struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    fn of(world: &World) -> anyhow::Result<Self> {
        let folder = scratch::dir("guide")?;
        for (n, pod) in world.pods.iter().enumerate() {
            Self::describe(world, pod, &folder.join(format!("kube-node-mgr-{n}")))?;
        }
        Self::with(folder, "kubectl-for-processes")
    }

    fn with(folder: PathBuf, kubectl: &str) -> anyhow::Result<Self> {
        let bin = folder.join("bin");
        std::fs::create_dir(&bin)?;
        symlink(root().join("tests/deploy").join(kubectl), bin.join("kubectl"))?;
        Ok(Self { folder })
    }

    fn describe(world: &World, pod: &Pod, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir(folder)?;
        symlink(pod.migrate_log().path(), folder.join("migrate.log"))?;
        symlink(pod.relay.log().path(), folder.join("relay.log"))?;
        symlink(pod.api.log().path(), folder.join("kube-node-mgr.log"))?;
        std::fs::write(folder.join("port-9090"), pod.api.admin_address())?;
        std::fs::write(folder.join("port-9091"), pod.relay.admin_address())?;
        let config = pod.api.log().path().with_file_name("config.yaml");
        let exec = format!(
            "#!/bin/sh\nexport KNM_CONFIG='{}' DB_PASSWORD='{}' PATH='{}'\nexec \"$@\"\n",
            config.display(),
            world.database.server().password(),
            programs()?.display(),
        );
        let path = folder.join("exec");
        std::fs::write(&path, exec)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// Runs a block as a person would paste it; one that fails or says nothing is wrong.
    fn run(&self, guide: &str, block: &Block) -> anyhow::Result<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let done = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(root())
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()))
            .env("KNM_GUIDE_PODS", &self.folder)
            .env("KNM_GUIDE_PATH", path)
            .output()
            .context("bash")?;
        let (out, err) = [&done.stdout, &done.stderr].map(|b| String::from_utf8_lossy(b)).into();
        let Block { line, text } = block;
        ensure!(done.status.success(), "{guide}:{line}\n{text}\n{}\n{out}\n{err}", done.status);
        ensure!(!out.trim().is_empty(), "{guide}:{line} says nothing\n{text}\n{err}");
        Ok(out.into_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_about_pods_and_the_database_do_what_the_guides_say() -> anyhow::Result<()> {
    let own = ClusterOptions::default();
    let world = World::new("guide").pods(3).nodes(5).own_cluster(own).start().await?;
    let api = world.sign_in(0).await?;
    let task = api.label(&world.nodes(0..5), "example.com/a", "1").await?;
    finish(&world, &api, task).await?;
    for pod in &world.pods {
        pod.api.log().wait_for(phrases::NOTIFIER_VERIFIED, SOON).await?;
        pod.relay.log().wait_for(&format!("{} task={task}", phrases::FORWARDED), SOON).await?;
    }
    let cluster = Cluster::of(&world)?;
    let mut said = String::new();
    for guide in GUIDES {
        for block in blocks(guide, "pods")? {
            let out = cluster.run(guide, &block)?;
            ensure!(!out.contains("fail  "), "{guide}:{}\n{out}", block.line);
            said.push_str(&out);
        }
    }
    for phrase in [
        "ok    LISTEN works",
        "[pod/kube-node-mgr-2/relay] ",
        "=== pod/kube-node-mgr-1 ===",
        phrases::NOTIFIER_VERIFIED,
        phrases::PUBLISHED,
        phrases::FORWARDED,
        "\"listener\":\"live\"",
        "knm_relay_listener_state{state=\"live\"} 1",
    ] {
        ensure!(said.contains(phrase), "no command shows {phrase:?}\n{said}");
    }
    // The database is made once; both guides have the same.
    for (guide, kind) in [(GUIDES[0], "database"), (GUIDES[0], "sql"), (GUIDES[1], "sql")] {
        for block in blocks(guide, kind)? {
            let psql = format!("psql -v ON_ERROR_STOP=1 '{}'", world.database.url());
            let text = format!("{psql} <<'SQL'\n{}\nSQL", block.text);
            cluster.run(guide, &Block { text, ..block })?;
        }
    }
    world.stop().await
}

/// What the guide shows of a start is what the api's log says, line by line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_that_the_guides_show_is_the_log() -> anyhow::Result<()> {
    let world = World::new("guide_log").nodes(1).start().await?;
    let log = world.pods[0].api.log();
    log.wait_for(phrases::NOTIFIER_VERIFIED, SOON).await?;
    let said: Vec<String> = log.lines().iter().map(|line| line.to_string()).collect();
    for guide in GUIDES {
        let text = std::fs::read_to_string(root().join("deploy").join(guide))?;
        let shown: Vec<_> = text.lines().filter(|line| line.starts_with("INFO: ")).collect();
        ensure!(shown.len() == 7, "{guide}: {shown:#?}");
        let mut rest = said.iter();
        for line in shown {
            // Host, port and database are this test's own.
            let (line, _) = line.split_once("host=").unwrap_or((line, ""));
            let found =
                rest.any(|said| said.split_once(' ').is_some_and(|(_, s)| s.starts_with(line)));
            ensure!(found, "{guide}: {line:?} is not in the log, or not there\n{said:#?}");
        }
    }
    world.stop().await
}

#[test]
fn the_commands_about_files_work_with_kubectl() -> anyhow::Result<()> {
    let version = Command::new("kubectl").args(["version", "--client"]).output();
    if !version.is_ok_and(|out| out.status.success()) {
        println!("skipped: no kubectl");
        return Ok(());
    }
    let cluster = Cluster::with(scratch::dir("guide_files")?, "kubectl-for-files")?;
    for guide in GUIDES {
        let mut said = String::new();
        for block in blocks(guide, "local")? {
            said.push_str(&cluster.run(guide, &block)?);
        }
        for phrase in [
            "kind: Namespace",
            "name: postgres-secret",
            "  encryption-key: ",
            "kind: StatefulSet",
            "- --adopt",
        ] {
            ensure!(said.contains(phrase), "{guide}: no command shows {phrase:?}");
        }
        // The password that the Secret was made with is what the guide's command shows of it.
        let secret =
            std::fs::read_to_string(cluster.folder.join("secret-kube-node-mgr-secret.yaml"))?;
        let made = secret.lines().find_map(|line| line.trim().strip_prefix("admin-password: "));
        let made = base64::engine::general_purpose::STANDARD.decode(made.context("a password")?)?;
        let made = String::from_utf8(made)?;
        ensure!(said.contains(&made), "{guide}: the password is {made}, and not in\n{said}");
    }
    Ok(())
}
