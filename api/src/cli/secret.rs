//! A password that is not on the command line, where every process of the machine could read it.

use std::io::{self, BufRead, IsTerminal, Write};

use knm_shared::config::env;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// From the environment, else from standard input: asked for on a terminal, else its first line.
///
/// # Errors
/// When standard input ends or cannot be read.
pub(super) fn read() -> io::Result<String> {
    if let Some(password) = env::process(env::ADMIN_PASSWORD).filter(|p| !p.is_empty()) {
        return Ok(password);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line();
    }
    let _silence = Silence::begin()?;
    eprint!("Password: ");
    io::stderr().flush()?;
    let password = line();
    eprintln!();
    password
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
