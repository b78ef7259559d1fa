//! Which request a piece of work belongs to, for what outlives the request: its log lines carry the id.

use std::sync::Arc;

tokio::task_local! {
    static REQUEST: Arc<str>;
}

/// Does some work on behalf of the request with this id.
pub async fn in_request<F: Future>(id: String, work: F) -> F::Output {
    REQUEST.scope(id.into(), work).await
}

/// The id of the request that this is done for, if it is done for one.
#[must_use]
pub fn current_request() -> Option<Arc<str>> {
    REQUEST.try_with(Arc::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_knows_its_request_and_what_it_starts_does_not() {
        assert_eq!(current_request(), None);
        in_request("r-1".into(), async {
            assert_eq!(current_request().as_deref(), Some("r-1"));
            let started = tokio::spawn(async { current_request() });
            assert_eq!(started.await.expect("no panic"), None);
        })
        .await;
    }
}
