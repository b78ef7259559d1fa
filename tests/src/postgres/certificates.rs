//! A certificate authority of one test, and server certificates of it, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::ClusterOptions;
use super::binaries::RunAs;
use crate::scratch;

/// An authority. Its files last as long as [`scratch`].
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

/// A server's certificate and key.
#[derive(Debug, Clone)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// A new authority.
    ///
    /// # Errors
    /// When there is no `openssl`.
    pub fn new() -> anyhow::Result<Self> {
        let made = Self { folder: scratch::dir("certificates")? };
        made.openssl(
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
                .into_iter()
                .chain(["-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"])
                .chain(["-subj", "/CN=knm test authority"])
                .collect::<Vec<_>>(),
        )?;
        Ok(made)
    }

    /// The authority's own certificate, for `ssl_root_cert`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate for a host name, good for two days, or out of date since yesterday.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn server(&self, host: &str, expired: bool) -> anyhow::Result<Certificate> {
        let name = format!("{host}-{:08x}", rand::random::<u32>());
        let [key, request, certificate, names] =
            ["key", "csr", "crt", "san"].map(|end| format!("{name}.{end}"));
        std::fs::write(self.folder.join(&names), format!("subjectAltName=DNS:{host}"))?;
        let subject = format!("/CN={host}");
        self.openssl(
            &["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
                .into_iter()
                .chain(["-keyout", &key, "-out", &request, "-subj", &subject])
                .collect::<Vec<_>>(),
        )?;
        let days = if expired { "-1" } else { "2" };
        self.openssl(
            &["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key"]
                .into_iter()
                .chain(["-CAcreateserial", "-days", days, "-extfile", &names, "-out", &certificate])
                .collect::<Vec<_>>(),
        )?;
        let made =
            Certificate { certificate: self.folder.join(certificate), key: self.folder.join(key) };
        // PostgreSQL takes a key only from its own user.
        let run_as = RunAs::choose()?;
        for path in [&made.certificate, &made.key] {
            run_as.own(path)?;
        }
        Ok(made)
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let done = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .context("the command openssl is needed: apt-get install openssl")?;
        if !done.status.success() {
            bail!("openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }
}

impl Certificate {
    /// Settings of a server that shows this certificate.
    #[must_use]
    pub fn options(&self) -> ClusterOptions {
        let text = |path: &Path| path.display().to_string();
        let settings = [
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", text(&self.certificate)),
            ("ssl_key_file", text(&self.key)),
        ];
        ClusterOptions {
            settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
            ..ClusterOptions::default()
        }
    }

    /// Puts another certificate and key where these are; a server takes them up on SIGHUP.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn replace_with(&self, other: &Self) -> anyhow::Result<()> {
        for (from, to) in [(&other.key, &self.key), (&other.certificate, &self.certificate)] {
            std::fs::write(to, std::fs::read(from)?)?;
        }
        Ok(())
    }
}
