//! An answer stays a request under way until it has left: whoever asks for much and reads slowly has what they
//! have not read counted, for as long as it is kept for them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as _, Bytes, Frame, SizeHint};

use super::super::inflight::Turn;
use super::super::{Body, Response, boxed};

/// What is handed on at a time. hyper takes pieces until some 400 KB wait to be sent, but one piece whole, and
/// lets go of a body as soon as it has the last one.
const PIECE: usize = 64 * 1024;

/// Has the turn given back when all of the answer has been sent, or it is dropped. What is made while it is
/// sent, and so has no known length, counts by itself.
pub(super) fn until_sent(response: Response, turn: Turn) -> Response {
    match response.body().size_hint().exact() {
        None | Some(0) => response,
        Some(_) => {
            let turn = Arc::new(turn);
            response.map(|body| boxed(Counted { body, rest: Bytes::new(), turn }))
        }
    }
}

struct Counted {
    body: Body,
    /// Of the last frame, what has not been handed on.
    rest: Bytes,
    turn: Arc<Turn>,
}

/// Hyper may keep a piece until the socket takes it, or copy it: where it encrypts, the turn ends when the
/// last some 400 KB have been copied.
struct Piece {
    bytes: Bytes,
    _turn: Arc<Turn>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tower::BoxError>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let bytes = this.rest.split_to(PIECE.min(this.rest.len()));
        let piece = Piece { bytes, _turn: Arc::clone(&this.turn) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut all = SizeHint::new();
        all.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use knm_shared::ids::UserId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use uuid::Uuid;

    use super::super::super::full;
    use super::super::super::inflight::{InFlight, Whose};
    use super::*;

    const USER: Whose = Whose::User(UserId(Uuid::nil()));

    /// How many requests the user may still have.
    fn room(all: &InFlight) -> usize {
        let turns: Vec<_> = (0..).map_while(|_| all.enter(USER).ok()).collect();
        turns.len()
    }

    fn answer(all: &InFlight, body: Body) -> Response {
        until_sent(Response::new(body), all.enter(USER).expect("room"))
    }

    fn much() -> Vec<u8> {
        (0..=u8::MAX).cycle().take(3_000_001).collect()
    }

    #[tokio::test]
    async fn the_turn_lasts_as_long_as_anything_of_the_answer() {
        let all = InFlight::default();
        let most = room(&all);
        let response = answer(&all, full(much()));
        assert_eq!(response.body().size_hint().exact(), Some(3_000_001));
        assert_eq!(room(&all), most - 1);
        drop(response);
        assert_eq!(room(&all), most, "nobody wants it any more");

        let mut body = answer(&all, full(much())).into_body();
        let (mut pieces, mut left) = (Vec::new(), 3_000_001);
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("in memory").into_data().expect("data");
            assert!(piece.len() <= PIECE);
            left -= piece.len() as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            assert_eq!(body.is_end_stream(), left == 0);
            pieces.push(piece);
        }
        drop(body);
        assert_eq!(pieces.concat(), much());
        pieces.truncate(1);
        assert_eq!(room(&all), most - 1, "a piece has not been sent");
        drop(pieces);
        assert_eq!(room(&all), most);
    }

    #[tokio::test]
    async fn what_is_empty_or_made_as_it_goes_has_no_turn() {
        let all = InFlight::default();
        let most = room(&all);
        let empty = answer(&all, full(""));
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let stream = answer(&all, boxed(StreamBody::new(frames)));
        assert_eq!(room(&all), most);
        drop((empty, stream));
    }

    #[tokio::test]
    async fn what_a_slow_reader_has_not_read_is_counted() {
        let all = InFlight::default();
        let most = room(&all);
        let (ours, mut theirs) = duplex(16 * 1024);
        let answering = all.clone();
        let service = service_fn(move |_| {
            let response = answer(&answering, full(much()));
            async move { Ok::<_, Infallible>(response) }
        });
        let serve = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(ours), service);
        let read = async {
            theirs.write_all(b"GET / HTTP/1.1\r\nhost: knm\r\n\r\n").await.expect("sent");
            let (mut got, mut some) = (0, vec![0; 8 * 1024]);
            // The head is a hundred bytes or so.
            while got < 3_000_001 - 32 * 1024 {
                got += theirs.read(&mut some).await.expect("some of it");
                assert_eq!(room(&all), most - 1, "after {got} bytes");
            }
            theirs.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.expect("sent");
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).await.expect("the rest, and another");
            assert!(rest.ends_with(&much()[2_000_000..]));
        };
        let (served, ()) = tokio::join!(serve, read);
        served.expect("all of it");
        assert_eq!(room(&all), most);
    }
}
