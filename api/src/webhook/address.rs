//! Which addresses may be told of tasks: those that the configuration allows, and nothing else that a
//! server inside of the cluster's network might reach.

use http::Uri;
use knm_shared::config;

/// An address that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is none.
    #[error("must be an http or https URL without user and fragment")]
    NotUrl,
    /// Nobody has allowed it.
    #[error("is not below any address of webhook.allowed in the configuration")]
    NotAllowed,
}

/// Where a webhook goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Uri);

impl Address {
    fn parse(text: &str) -> Result<Self, AddressError> {
        let uri: Uri = text.parse().map_err(|_| AddressError::NotUrl)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain =
            uri.authority().is_some_and(|a| !a.as_str().contains('@') && !a.host().is_empty());
        if web && plain && !text.contains('#') { Ok(Self(uri)) } else { Err(AddressError::NotUrl) }
    }

    /// As a request's target.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    fn port(&self) -> u16 {
        let usual = if self.0.scheme_str() == Some("https") { 443 } else { 80 };
        self.0.port_u16().unwrap_or(usual)
    }

    /// Whether `other` is this address or below it: same scheme, host and port, and a path that goes on
    /// where this one ends.
    fn covers(&self, other: &Self) -> bool {
        let host = |uri: &Uri| uri.host().unwrap_or_default().to_ascii_lowercase();
        let origin = self.0.scheme_str() == other.0.scheme_str()
            && host(&self.0) == host(&other.0)
            && self.port() == other.port();
        let (base, path) = (self.0.path().trim_end_matches('/'), other.0.path());
        // Steps upwards would lead out of what was allowed; what some servers take for the sign between
        // steps, and others not, is not needed for anything else.
        let path_as_read = path.to_ascii_lowercase().replace("%2e", ".");
        let climbs = path_as_read.split('/').any(|part| {
            let name = part.split(';').next().unwrap_or_default();
            name == ".." || name == "."
        }) || ["%2f", "%5c", "\\"].iter().any(|sign| path_as_read.contains(sign));
        let below =
            path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        origin && below && !climbs
    }
}

/// The addresses that the configuration names.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    bases: Vec<Address>,
    /// For tasks that name none.
    usual: Option<String>,
}

impl Allowed {
    /// Reads them.
    ///
    /// # Errors
    /// [`AddressError`]
    pub fn new(webhook: &config::Webhook) -> Result<Self, AddressError> {
        let bases = webhook.allowed.iter().map(|t| Address::parse(t)).collect::<Result<_, _>>()?;
        let allowed = Self { bases, usual: None };
        if webhook.url.is_empty() {
            return Ok(allowed);
        }
        allowed.check(&webhook.url)?;
        Ok(Self { usual: Some(webhook.url.clone()), ..allowed })
    }

    /// Who is told of a task that wants so.
    ///
    /// # Errors
    /// [`AddressError`]
    pub fn of_task(&self, wanted: Option<&str>) -> Result<Option<String>, AddressError> {
        match wanted {
            None => Ok(self.usual.clone()),
            Some(text) => self.check(text).map(|_| Some(text.to_owned())),
        }
    }

    /// An address that may be used.
    ///
    /// # Errors
    /// [`AddressError`]
    pub fn check(&self, text: &str) -> Result<Address, AddressError> {
        let address = Address::parse(text)?;
        let allowed = self.bases.iter().any(|base| base.covers(&address));
        if allowed { Ok(address) } else { Err(AddressError::NotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_an_allowed_address_may_be_told() {
        let bases = ["https://hooks.example.com/knm/", "http://10.0.0.1:8080"].map(str::to_owned);
        let mut webhook = config::Webhook { allowed: bases.into(), ..config::Webhook::default() };
        let allowed = Allowed::new(&webhook).expect("addresses");
        assert_eq!(allowed.of_task(None), Ok(None));
        webhook.url = "https://hooks.example.com/knm/all".into();
        let usual = Allowed::new(&webhook).expect("addresses");
        assert_eq!(usual.of_task(None), Ok(Some(webhook.url.clone())));
        webhook.url = "https://elsewhere.example.com".into();
        assert_eq!(Allowed::new(&webhook).err(), Some(AddressError::NotAllowed));
        for good in [
            "https://hooks.example.com/knm",
            "https://HOOKS.example.com:443/knm/a?b=c",
            "http://10.0.0.1:8080/anything",
        ] {
            assert!(allowed.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://hooks.example.com/knm/",
            "https://hooks.example.com/knmore",
            "https://hooks.example.com/",
            "https://hooks.example.com:8443/knm/",
            "https://hooks.example.com.evil.org/knm/",
            "https://hooks.example.com/knm/../admin",
            "https://hooks.example.com/knm/%2E%2e/admin",
            "https://hooks.example.com/knm/..%2fadmin",
            "https://hooks.example.com/knm/..%5Cadmin",
            "https://hooks.example.com/knm/..;a=b/admin",
            "http://10.0.0.1/",
            "http://169.254.169.254/",
        ] {
            assert_eq!(allowed.check(bad), Err(AddressError::NotAllowed), "{bad}");
        }
        for none in [
            "",
            "hooks.example.com",
            "/knm",
            "ftp://hooks.example.com/knm",
            "file:///etc/passwd",
            "https://hooks.example.com@evil.org/knm",
            "https://hooks.example.com/knm#a",
            "https:///knm",
        ] {
            assert_eq!(allowed.check(none), Err(AddressError::NotUrl), "{none}");
        }
        let nothing = Allowed::default();
        assert_eq!(nothing.check("https://a.example"), Err(AddressError::NotAllowed));
    }
}
