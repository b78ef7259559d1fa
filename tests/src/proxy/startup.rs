//! Reads the `application_name` off a PostgreSQL connection's first bytes
//! (<https://www.postgresql.org/docs/15/protocol-message-formats.html>, StartupMessage).

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const PROTOCOL_3: u32 = 3 << 16;
/// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_LEN: usize = 10_000;

/// Collects bytes until the startup message is complete.
#[derive(Debug, Default)]
pub(super) struct Startup {
    seen: Vec<u8>,
}

impl Startup {
    /// `Some` when it is decided: with the name, or without when there is none to be seen (TLS,
    /// another protocol, a cancel request).
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Option<String>> {
        self.seen.extend_from_slice(bytes);
        loop {
            let len = word(&self.seen, 0)? as usize;
            let code = word(&self.seen, 4)?;
            if len == 8 && matches!(code, SSL_REQUEST | GSS_REQUEST) {
                // The server answers with one byte; a plain startup message may follow.
                self.seen.drain(..8);
                continue;
            }
            if code >> 16 != PROTOCOL_3 >> 16 || !(8..=MAX_LEN).contains(&len) {
                return Some(None);
            }
            return self.seen.get(8..len).map(application_name);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(word.try_into().expect("four bytes")))
}

fn application_name(parameters: &[u8]) -> Option<String> {
    let mut words = parameters.split(|b| *b == 0);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == b"application_name" {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parameters: &[u8]) -> Vec<u8> {
        let len = u32::try_from(8 + parameters.len()).expect("short");
        [&len.to_be_bytes()[..], &PROTOCOL_3.to_be_bytes(), parameters].concat()
    }

    const PARAMETERS: &[u8] = b"user\0me\0application_name\0knm-relay-listener\0\0";

    #[test]
    fn the_name_is_found_however_the_bytes_come() {
        let whole = message(PARAMETERS);
        let name = Some(Some("knm-relay-listener".to_owned()));
        assert_eq!(Startup::default().feed(&whole), name);
        let mut bytewise = Startup::default();
        let (last, first) = whole.split_last().expect("bytes");
        for byte in first {
            assert_eq!(bytewise.feed(&[*byte]), None);
        }
        assert_eq!(bytewise.feed(&[*last]), name);
    }

    #[test]
    fn a_request_for_tls_is_passed_over() {
        let request = [&8u32.to_be_bytes()[..], &SSL_REQUEST.to_be_bytes()].concat();
        let mut startup = Startup::default();
        assert_eq!(startup.feed(&request), None);
        assert!(startup.feed(&message(PARAMETERS)).flatten().is_some());
    }

    #[test]
    fn what_names_nothing_is_decided_at_once() {
        assert_eq!(Startup::default().feed(&message(b"user\0me\0\0")), Some(None));
        assert_eq!(Startup::default().feed(b"GET / HTTP/1.1\r\n"), Some(None));
        assert_eq!(Startup::default().feed(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]), Some(None));
    }
}
