//! Every `ssl_mode` against real servers: with TLS, without, with another authority's certificate, for
//! another host, out of date.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use knm_shared::pg::{App, ConnectError, ConnectErrorKind, Connector, Target};
use support::{Server, Setup};

/// What every role may do over TLS, and `postgres` on the database `plain` without.
const HBA: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n\
                   host plain all 127.0.0.1/32 scram-sha-256\n";

fn openssl(folder: &Path, args: &str) {
    let status = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(folder)
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("openssl runs").success(), "openssl {args}");
}

/// An authority: `NAME.crt` and `NAME.key`.
fn authority(folder: &Path, name: &str) {
    let files = format!("-keyout {name}.key -out {name}.crt");
    openssl(folder, &format!("req -x509 -newkey rsa:2048 -nodes {files} -days 2 -subj /CN={name}"));
}

/// A server that shows a certificate of `authority` for `localhost`, good for so many days.
async fn tls_server(authorities: &Path, authority: &str, days: i32) -> Server {
    let setup = Setup::new();
    let folder = setup.folder().to_owned();
    openssl(&folder, "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=x");
    std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost").expect("written");
    let ca = authorities.join(authority).display().to_string();
    openssl(
        &folder,
        &format!(
            "x509 -req -in server.csr -CA {ca}.crt -CAkey {ca}.key -set_serial 7 -days {days} \
             -extfile san -out server.crt"
        ),
    );
    let [key, cert] = ["server.key", "server.crt"].map(|name| folder.join(name));
    for file in [&key, &cert] {
        setup.own(file);
    }
    setup
        .setting("ssl=on")
        .setting(format!("ssl_key_file={}", key.display()))
        .setting(format!("ssl_cert_file={}", cert.display()))
        .hba(HBA)
        .start()
        .await
}

/// Whether the session is encrypted.
async fn connect(server: &Server, more: &str) -> Result<bool, ConnectError> {
    let database = server.config(more).config.database;
    let (client, connection) =
        Connector::new(&database, App::RelayListener, Target::Direct)?.connect().await?;
    tokio::spawn(connection);
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await.expect("answered").get(0))
}

fn settings(mode: &str, root: &str, host: &str) -> String {
    format!("host: {host}\nssl_mode: {mode}\nssl_root_cert: \"{root}\"")
}

#[tokio::test]
async fn ssl_modes_mean_what_they_mean_to_libpq() {
    let authorities = tempfolder();
    for name in ["ours", "theirs"] {
        authority(&authorities, name);
    }
    let root = |name: &str| authorities.join(format!("{name}.crt")).display().to_string();
    let (ours, theirs) = (root("ours"), root("theirs"));
    let good = tls_server(&authorities, "ours", 2).await;
    let late = tls_server(&authorities, "ours", -1).await;
    let plain = Server::start().await;

    const NAME: &str = "localhost";
    const ADDRESS: &str = "127.0.0.1";
    let encrypted = Ok(true);
    let open = Ok(false);
    let tls = Err(ConnectErrorKind::Tls);
    // (server, mode, root certificate, host, whether it is encrypted or how it fails)
    let cases = [
        (&good, "disable", "", ADDRESS, Err(ConnectErrorKind::Authentication)),
        (&good, "prefer", "", ADDRESS, encrypted),
        (&good, "require", "", ADDRESS, encrypted),
        (&good, "require", &ours, ADDRESS, encrypted),
        (&good, "require", &theirs, NAME, tls),
        (&good, "verify-ca", &ours, ADDRESS, encrypted),
        (&good, "verify-ca", &theirs, NAME, tls),
        // Nobody whom this machine trusts has signed it.
        (&good, "verify-ca", "", NAME, tls),
        (&good, "verify-full", &ours, NAME, encrypted),
        (&good, "verify-full", &ours, ADDRESS, tls),
        (&good, "verify-full", &theirs, NAME, tls),
        (&late, "prefer", "", NAME, encrypted),
        (&late, "require", "", NAME, encrypted),
        (&late, "require", &ours, NAME, tls),
        (&late, "verify-ca", &ours, NAME, tls),
        (&late, "verify-full", &ours, NAME, tls),
        (&plain, "disable", "", ADDRESS, open),
        (&plain, "prefer", "", ADDRESS, open),
        (&plain, "require", "", ADDRESS, tls),
        (&plain, "verify-ca", &ours, NAME, tls),
        (&plain, "verify-full", &ours, NAME, tls),
    ];
    for (server, mode, root, host, expected) in cases {
        let found = connect(server, &settings(mode, root, host)).await;
        let said = found.as_ref().err().map(ToString::to_string);
        let case = format!("{} {mode} {root:?} {host}: {said:?}", server.port);
        assert_eq!(found.map_err(|e| e.kind), expected, "{case}");
    }

    // (server, mode, root certificate, host, what to do)
    let advice = [
        (&good, "disable", "", ADDRESS, "set database.ssl_mode to \"require\""),
        (&good, "verify-ca", "", NAME, "set database.ssl_root_cert"),
        (&good, "verify-ca", &theirs, NAME, "set database.ssl_root_cert"),
        (&good, "verify-full", &ours, ADDRESS, "names another host"),
        (&late, "verify-full", &ours, NAME, "renew the server's certificate"),
        (&plain, "require", "", ADDRESS, "turn ssl on in the server"),
    ];
    for (server, mode, root, host, expected) in advice {
        let error = connect(server, &settings(mode, root, host)).await.expect_err("fails");
        assert!(error.next().contains(expected), "{mode} {root:?} {host}: {}", error.next());
    }
    let not_pem = good.config_file("not a certificate").display().to_string();
    let error = connect(&good, &settings("verify-ca", &not_pem, NAME)).await.expect_err("no PEM");
    assert!(error.to_string().contains("contains no certificate"), "{error}");
    std::fs::remove_dir_all(&authorities).expect("ours");
}

fn tempfolder() -> std::path::PathBuf {
    let name = format!("knm-ca-{}", uuid::Uuid::new_v4().simple());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).expect("a new folder");
    folder
}
