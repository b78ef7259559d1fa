//! The content of the image, in a folder: both programs run in it under chroot, as the image's user, on a
//! read-only mount, with the shipped configuration. Needs root; without, it says so and does nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use knm_tests::api::{Api, label_task};
use knm_tests::kube_sim::{KubeSim, SimOptions};
use knm_tests::postgres::{Cluster, ClusterOptions, Database};
use knm_tests::process::{Log, Process, Spec};
use knm_tests::{ports, scratch};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{SOON, programs, root};

/// In the image's /etc/hosts this is the Service that the shipped configuration names.
const SERVICE: &str = "127.77.0.5";
const HOST: &str = "postgres-service.default.svc.cluster.local";
const USER: &str = "65532";
/// In a mount namespace of its own: nobody else sees the mounts, and they end with the process.
const ENTER: &str = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && tree=$1 && shift &&
    exec chroot --userspec=65532:65532 "$tree" "$@""#;

struct Tree {
    folder: PathBuf,
    password: String,
}

impl Tree {
    fn make(password: &str) -> anyhow::Result<Self> {
        let scratch = scratch::dir("image")?;
        let (folder, web) = (scratch.join("tree"), scratch.join("web"));
        std::fs::create_dir(&web)?;
        std::fs::write(web.join("index.html"), "<!doctype html><title>in the image</title>")?;
        let made = Command::new(root().join("deploy/runtime-tree"))
            .args([&programs()?, &folder, &web])
            .output()
            .context("deploy/runtime-tree")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(
            folder.join("etc/hosts"),
            format!("{SERVICE} {HOST}\n127.0.0.1 localhost\n"),
        )?;
        Ok(Self { folder, password: password.to_owned() })
    }

    /// What the ConfigMap would put there.
    fn configure(&self, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join("etc/kube-node-manager/config.yaml");
        std::fs::write(path, text).context("the configuration")
    }

    fn spawn(&self, log: &str, arguments: &[&str]) -> anyhow::Result<Process> {
        Spec::new(arguments.join(" "), Path::new("unshare"))
            .args(["--mount", "--", "sh", "-c", ENTER, "enter"])
            .arg(&self.folder)
            .args(arguments.iter().enumerate().map(|(n, argument)| match n {
                0 => format!("/usr/local/bin/{argument}"),
                _ => (*argument).to_owned(),
            }))
            .env("DB_PASSWORD", &self.password)
            .env("KNM_ADMIN_PASSWORD", "correct horse battery staple")
            .env("POD_NAME", "kube-node-mgr-0")
            .spawn(&Log::create(self.folder.with_file_name(log))?)
    }
}

/// Passes connections to the Service's address on to the server.
async fn service(server: &str) -> anyhow::Result<AbortOnDropHandle<()>> {
    let address: SocketAddr = format!("{SERVICE}:5432").parse()?;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{address} is taken: a PostgreSQL of this machine listens on every address")
    })?;
    let server = server.to_owned();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(server).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    })))
}

async fn probe(api: &Api) -> anyhow::Result<()> {
    let ready = async {
        while !api.get("/readyz").await.is_ok_and(|answer| answer.status.is_success()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, ready).await.context("not ready in time")
}

fn proc(process: &Process, file: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{}/{file}", process.pid()))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_programs_run_in_what_the_image_holds() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: chroot and mounts need root");
        return Ok(());
    }
    let cluster = Cluster::start(ClusterOptions::default()).await?;
    let server = cluster.server();
    let created = server.connect().await?.batch_execute("CREATE DATABASE kube_node_manager").await;
    created.context("the guide's database")?;
    let _service = service(&format!("{}:{}", server.host(), server.port())).await?;
    let tree = Tree::make(server.password())?;

    // The files as they are shipped, down to the database's name.
    for file in ["config.yaml", "config-multi-replica.yaml"] {
        let text = std::fs::read_to_string(root().join("deploy/base/configs").join(file))?;
        tree.configure(&text)?;
        for program in ["knm-api", "knm-relay"] {
            let check = tree.spawn("check.log", &[program, "check"])?;
            let status = check.wait(SOON).await?;
            ensure!(status.success(), "{program} with {file}: {status}\n{}", check.log().tail(20));
        }
    }

    // Only the ports differ: this machine's may be taken. The cluster is a simulated one.
    let sim = KubeSim::start(SimOptions { nodes: 3, ..SimOptions::default() }).await?;
    std::fs::write(tree.folder.join("etc/kubeconfig"), sim.kubeconfig())?;
    let file = root().join("deploy/base/configs/config-multi-replica.yaml");
    let mut text = std::fs::read_to_string(file)?;
    let ports: [u16; 4] = std::array::from_fn(|_| ports::free());
    for (port, shipped) in ports.iter().zip([":8080", ":9090", ":8081", ":9091"]) {
        text = text.replace(&format!("\"{shipped}\""), &format!("\"127.0.0.1:{port}\""));
    }
    tree.configure(&text.replace("kubeconfig: \"\"", "kubeconfig: \"/etc/kubeconfig\""))?;
    let migrate = tree.spawn("migrate.log", &["knm-api", "migrate"])?;
    ensure!(migrate.wait(SOON).await?.success(), "{}", migrate.log().tail(20));
    let relay = tree.spawn("relay.log", &["knm-relay"])?;
    let api = tree.spawn("api.log", &["knm-api"])?;
    let [api_port, api_admin, relay_port, relay_admin] = ports;
    for port in [api_admin, relay_admin] {
        let ready = probe(&Api::new(format!("http://127.0.0.1:{port}"))).await;
        ready.with_context(|| format!("{}\n{}", api.log().tail(20), relay.log().tail(20)))?;
    }
    for process in [&api, &relay] {
        let uids = proc(process, "status")?;
        let uids = uids.lines().find(|line| line.starts_with("Uid:")).context("Uid")?;
        ensure!(uids.split_whitespace().skip(1).all(|uid| uid == USER), "{uids}");
        let mounts = proc(process, "mountinfo")?;
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).context("/")?;
        ensure!(root.split(' ').nth(5).is_some_and(|o| o.split(',').any(|o| o == "ro")), "{root}");
    }

    let client = Api::new(format!("http://127.0.0.1:{api_port}"));
    ensure!(client.get("/").await?.text().contains("in the image"), "the web UI is served");
    let client = client.login("admin", "correct horse battery staple").await?;
    let nodes = sim.node_names();
    let task = client.submit(&label_task(&nodes, "example.com/a", "1")).await?;
    let mut watcher =
        knm_tests::ws::Watcher::new(format!("127.0.0.1:{relay_port}"), client.token()?);
    watcher.subscribe(task).await?;
    watcher.until_all_complete(SOON).await?;
    let database = Database::existing(server.clone(), "kube_node_manager");
    let rows = knm_tests::invariants::Rows::read(&mut *database.connect().await?, task).await?;
    watcher.checker().check_final(task, &rows)?;
    for process in [&api, &relay] {
        let status = process.stop(rustix::process::Signal::TERM, SOON).await?;
        ensure!(status.success(), "{status}\n{}", process.log().tail(20));
    }
    Ok(())
}
