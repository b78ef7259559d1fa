//! The last thing that a request passes before the wire: is the lease still ours, and for how long?

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tower::{BoxError, Layer, Service};

use crate::lease::Lease;

/// How long a request that no lease covers waits for the head of its answer, which watches get at once. A watch
/// that hangs must be found out before it counts as running again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(40);

/// Marks a request as covered by a lease. It is refused when the lease has run out, and given up when
/// it takes longer than `timeout` or than the lease holds.
#[derive(Debug, Clone)]
pub struct Fenced {
    /// Whose lease.
    pub lease: Arc<Lease>,
    /// Upper bound for the answer's head.
    pub timeout: Duration,
}

/// Why a request did not get an answer here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FenceError {
    /// Nothing was sent.
    #[error("not sent: the task's lease has run out")]
    Expired,
    /// Sent, no answer in time: it may have taken effect.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FenceLayer;

impl<S> Layer<S> for FenceLayer {
    type Service = Fence<S>;

    fn layer(&self, inner: S) -> Fence<S> {
        Fence { inner }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Fence<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Fence<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Into<BoxError> + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(Fenced { lease, timeout }) = request.extensions().get::<Fenced>().cloned() else {
            return Box::pin(within(HEAD_TIMEOUT, self.inner.call(request)));
        };
        // Nothing may come between this check and the call.
        let Some(left) = lease.remaining() else {
            return Box::pin(std::future::ready(Err(FenceError::Expired.into())));
        };
        Box::pin(within(timeout.min(left), self.inner.call(request)))
    }
}

async fn within<T, E: Into<BoxError>>(
    bound: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(bound, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(FenceError::TimedOut(bound).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tower::{ServiceBuilder, ServiceExt as _};

    use super::*;
    use crate::lease::{LEASE, MARGIN, Moment};

    const LONG: Duration = Duration::from_secs(60);

    async fn send(
        lease: &Arc<Lease>,
        timeout: Duration,
        hang: bool,
    ) -> (Result<u32, BoxError>, u32) {
        answer_to(Some(Fenced { lease: Arc::clone(lease), timeout }), hang).await
    }

    async fn answer_to(fence: Option<Fenced>, hang: bool) -> (Result<u32, BoxError>, u32) {
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        let service = ServiceBuilder::new().layer(FenceLayer).service(tower::service_fn(
            move |_: Request<()>| {
                let calls = Arc::clone(&calls);
                async move {
                    let n = calls.fetch_add(1, Ordering::SeqCst) + 1;
                    if hang {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(n)
                }
            },
        ));
        let mut request = Request::new(());
        fence.map(|fence| request.extensions_mut().insert(fence));
        (service.oneshot(request).await, seen.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_lost_lease_lets_nothing_through() {
        let lease = Arc::new(Lease::claimed(Moment::now()));
        assert_eq!(send(&lease, LONG, false).await.0.expect("passes"), 1);
        lease.lose();
        let (answer, calls) = send(&lease, LONG, false).await;
        let error = answer.expect_err("refused");
        assert_eq!(error.downcast_ref(), Some(&FenceError::Expired));
        assert_eq!(calls, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_a_lease_does_not_wait_for_ever_either() {
        assert_eq!(answer_to(None, false).await.0.expect("passes"), 1);
        let error = answer_to(None, true).await.0.expect_err("times out");
        assert_eq!(error.downcast_ref(), Some(&FenceError::TimedOut(HEAD_TIMEOUT)));
    }

    #[tokio::test]
    async fn a_call_ends_in_its_own_time_and_before_its_lease_does() {
        let short = Duration::from_millis(500);
        let fresh = Arc::new(Lease::claimed(Moment::now()));
        let ending = Arc::new(Lease::claimed(Moment::ago(LEASE - MARGIN - short)));
        for (lease, timeout) in [(ending, LONG), (fresh, short)] {
            let error = send(&lease, timeout, true).await.0.expect_err("times out");
            let Some(FenceError::TimedOut(bound)) = error.downcast_ref() else { panic!("{error}") };
            assert!(*bound <= short, "{bound:?}");
        }
    }
}
