//! The two shapes of an answer's body: all at once, or a stream of watch events.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// The connection is cut without a regular end, because a test wants it so.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("connection cut by the simulator")]
pub(crate) struct Dropped;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct SimBody(UnsyncBoxBody<Bytes, Dropped>);

impl SimBody {
    /// A body that is there already.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync())
    }

    /// A body that comes in pieces.
    pub(crate) fn stream(body: impl Body<Data = Bytes, Error = Dropped> + Send + 'static) -> Self {
        Self(body.boxed_unsync())
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
