//! Which connections are closed, and why: they are told before anything else.

use std::collections::HashMap;

use knm_shared::access::Access;
use knm_shared::notification::Revocation;
use uuid::Uuid;

use super::{ConnId, Hub, Owner};
use crate::protocol::CloseReason;

impl Hub {
    /// Closes the connections that a revocation is about.
    pub fn revoke(&mut self, revocation: Revocation) {
        self.close_where(CloseReason::Revoked, |_, owner, _| match revocation {
            Revocation::Session(session) => owner.session == session,
            Revocation::User(user) => owner.user == user,
        });
    }

    /// Closes those of the connections that were asked about whose sessions and tokens have ended or may do
    /// other things now. One that has come since knows better than the answer what it may do.
    pub fn close_outdated(&mut self, asked: &HashMap<ConnId, Owner>, now: &HashMap<Uuid, Access>) {
        self.close_where(CloseReason::Revoked, |id, owner, access| {
            asked.contains_key(&id) && now.get(&owner.session) != Some(access)
        });
    }

    fn close_where(
        &mut self,
        reason: CloseReason,
        chosen: impl Fn(ConnId, Owner, &Access) -> bool,
    ) {
        for (id, session) in &mut self.sessions {
            if chosen(*id, session.owner, &session.access) {
                session.close.get_or_insert(reason);
                session.interrupt(*id, &mut self.wakes);
            }
        }
    }

    /// Why a connection is to be closed, also before its client has taken what it was sent.
    #[must_use]
    pub fn closing(&self, id: ConnId) -> Option<CloseReason> {
        self.sessions.get(&id)?.close
    }

    /// Closes every connection and lets no other in.
    pub fn close(&mut self) {
        self.closing = true;
        self.close_where(CloseReason::Restart, |_, _, _| true);
    }

    /// The open connections, and the sessions and tokens behind them.
    #[must_use]
    pub fn owners(&self) -> HashMap<ConnId, Owner> {
        self.sessions.iter().map(|(id, session)| (*id, session.owner)).collect()
    }
}
