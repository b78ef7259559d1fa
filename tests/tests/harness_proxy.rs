//! The proxy does to a connection what it says, and nothing else.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use knm_tests::postgres::shared_server;
use knm_tests::proxy::{Direction, Fault, Proxy, Rule, Select, Swallow};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::NoTls;
use tokio_util::task::AbortOnDropHandle;

const SOON: Duration = Duration::from_secs(10);
/// Long enough for bytes that are on their way to arrive.
const QUIET: Duration = Duration::from_millis(50);

/// Sends everything back, then closes.
async fn echo() -> anyhow::Result<(String, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Ok((address, AbortOnDropHandle::new(serve)))
}

struct Echo {
    proxy: Proxy,
    socket: TcpStream,
    _server: AbortOnDropHandle<()>,
}

impl Echo {
    async fn start() -> anyhow::Result<Self> {
        let (address, server) = echo().await?;
        let proxy = Proxy::start(address).await?;
        let socket = TcpStream::connect(proxy.address()).await?;
        socket.set_nodelay(true)?;
        let mut echo = Self { proxy, socket, _server: server };
        assert_eq!(echo.ask("hello").await?, "hello");
        Ok(echo)
    }

    async fn ask(&mut self, text: &str) -> anyhow::Result<String> {
        self.socket.write_all(text.as_bytes()).await?;
        self.hear(text.len()).await
    }

    async fn hear(&mut self, len: usize) -> anyhow::Result<String> {
        let mut answer = vec![0; len];
        tokio::time::timeout(SOON, self.socket.read_exact(&mut answer)).await??;
        Ok(String::from_utf8(answer)?)
    }

    async fn end(&mut self) -> std::io::Result<usize> {
        let mut rest = [0; 64];
        let read = tokio::time::timeout(SOON, self.socket.read(&mut rest)).await;
        read.expect("the end comes at once")
    }
}

#[tokio::test]
async fn bytes_pass_and_are_counted() -> anyhow::Result<()> {
    let echo = Echo::start().await?;
    let counts = echo.proxy.counts();
    assert_eq!((counts.accepted, counts.open), (1, 1));
    assert_eq!((counts.to_server, counts.to_client), (5, 5));
    Ok(())
}

#[tokio::test]
async fn a_delay_is_kept_and_pipelined() -> anyhow::Result<()> {
    let mut echo = Echo::start().await?;
    let delay = Duration::from_millis(60);
    let rule = Rule::new(Select::All, Direction::ToClient, Fault::Delay(delay));
    echo.proxy.set_rules([rule]);
    let start = Instant::now();
    for _ in 0..5 {
        echo.socket.write_all(b"x").await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(echo.hear(5).await?, "xxxxx");
    let took = start.elapsed();
    assert!(took >= delay && took < delay * 4, "{took:?}: delays must not add up");
    Ok(())
}

#[tokio::test]
async fn a_throttle_slows_down() -> anyhow::Result<()> {
    let mut echo = Echo::start().await?;
    let fault = Fault::Throttle { bytes_per_second: 1000 };
    echo.proxy.set_rules([Rule::new(Select::All, Direction::ToServer, fault)]);
    let start = Instant::now();
    let text = "y".repeat(200);
    assert_eq!(echo.ask(&text).await?, text);
    assert!(start.elapsed() >= Duration::from_millis(170), "{:?}", start.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_black_hole_holds_back_and_loses_nothing() -> anyhow::Result<()> {
    for direction in Direction::BOTH {
        let mut echo = Echo::start().await?;
        echo.proxy.set_rules([Rule::new(Select::All, direction, Fault::BlackHole)]);
        echo.socket.write_all(b"late").await?;
        let early = tokio::time::timeout(QUIET, echo.socket.peek(&mut [0; 1])).await;
        assert!(early.is_err(), "something came through");
        echo.proxy.heal().await;
        assert_eq!(echo.hear(4).await?, "late");
    }
    Ok(())
}

#[tokio::test]
async fn torn_writes_arrive_piece_by_piece() -> anyhow::Result<()> {
    let (listener, proxy) = raw_server().await?;
    proxy.set(Select::All, Fault::Torn { bytes: 3 });
    let mut client = TcpStream::connect(proxy.address()).await?;
    let (mut server, _) = listener.accept().await?;
    client.write_all(&[7; 3000]).await?;
    let (mut got, mut reads) = (0, 0);
    let mut buffer = [0; 4096];
    while got < 3000 {
        got += server.read(&mut buffer).await?;
        reads += 1;
    }
    assert!(reads > 1, "3,000 bytes came in one piece");
    Ok(())
}

async fn raw_server() -> anyhow::Result<(TcpListener, Proxy)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?.to_string()).await?;
    Ok((listener, proxy))
}

#[tokio::test]
async fn a_cut_is_an_end_and_a_reset_an_error() -> anyhow::Result<()> {
    let mut echo = Echo::start().await?;
    assert_eq!(echo.proxy.cut(&Select::All), 1);
    assert_eq!(echo.end().await?, 0);
    let mut echo = Echo::start().await?;
    assert_eq!(echo.proxy.reset(&Select::Connection(0)), 1);
    let error = echo.end().await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(echo.proxy.cut(&Select::All), 0, "it is open no longer");
    Ok(())
}

#[tokio::test]
async fn a_half_close_leaves_the_other_half() -> anyhow::Result<()> {
    let (listener, proxy) = raw_server().await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    let (mut server, _) = listener.accept().await?;
    assert_eq!(proxy.half_close(&Select::All, Direction::ToServer), 1);
    let mut buffer = [0; 8];
    assert_eq!(server.read(&mut buffer).await?, 0, "the server sees the end");
    server.write_all(b"still").await?;
    client.read_exact(&mut buffer[..5]).await?;
    assert_eq!(&buffer[..5], b"still");
    Ok(())
}

#[tokio::test]
async fn new_connections_are_refused_and_taken_again() -> anyhow::Result<()> {
    let mut echo = Echo::start().await?;
    for _ in 0..3 {
        echo.proxy.refuse_new().await;
        let refused = TcpStream::connect(echo.proxy.address()).await.expect_err("refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(echo.ask("open").await?, "open");
        echo.proxy.accept_new().await;
        TcpStream::connect(echo.proxy.address()).await?;
    }
    Ok(())
}

async fn session(proxy: &Proxy, name: &str) -> anyhow::Result<tokio_postgres::Client> {
    let server = shared_server().await?;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(proxy.address().port()).application_name(name);
    config.user(server.user()).password(server.password());
    config.dbname(server.maintenance_database());
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn postgres_proxy() -> anyhow::Result<Proxy> {
    let server = shared_server().await?;
    Proxy::start(format!("{}:{}", server.host(), server.port())).await
}

#[tokio::test]
async fn one_application_is_hurt_and_no_other() -> anyhow::Result<()> {
    let proxy = postgres_proxy().await?;
    let listener = session(&proxy, "knm-relay-listener pod-a").await?;
    let pool = session(&proxy, "knm-relay pod-a").await?;
    assert_eq!(proxy.applications(), ["knm-relay-listener pod-a", "knm-relay pod-a"]);
    proxy.set(Select::application("knm-relay-listener"), Fault::BlackHole);
    pool.simple_query("SELECT 1").await?;
    let held = listener.simple_query("SELECT 1");
    assert!(tokio::time::timeout(QUIET, held).await.is_err());
    proxy.heal().await;
    listener.simple_query("SELECT 1").await?;
    assert_eq!(proxy.reset(&Select::application("knm-relay")), 1);
    assert!(pool.simple_query("SELECT 1").await.is_err());
    listener.simple_query("SELECT 1").await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_is_lost_after_the_commit_and_a_request_before_it() -> anyhow::Result<()> {
    let database = shared_server().await?.database("swallow").await?;
    database.connect().await?.batch_execute("CREATE TABLE t (x int)").await?;
    let proxy =
        Proxy::start(format!("{}:{}", database.server().host(), database.server().port())).await?;
    let select = || Select::application("writer");
    for (trap, rows_after) in [
        (Swallow::answer_to(select(), "INSERT INTO t"), 1),
        (Swallow::request(select(), "INSERT INTO t"), 1),
    ] {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(proxy.address().port()).application_name("writer");
        config.user(database.server().user()).password(database.server().password());
        config.dbname(database.name());
        let (client, connection) = config.connect(NoTls).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut sprung = proxy.swallow(trap);
        client.simple_query("SELECT 'nothing to do with it'").await?;
        assert!(!sprung.already());
        assert!(client.simple_query("INSERT INTO t VALUES (1)").await.is_err());
        tokio::time::timeout(SOON, sprung.wait()).await.context("the trap")?;
        drop(driver);
        assert_eq!(database.value::<i64>("SELECT count(*) FROM t", &[]).await?, rows_after);
    }
    Ok(())
}
