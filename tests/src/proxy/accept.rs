//! Takes connections, refuses them when told to, and keeps the register of open ones.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::{Command, Link};
use super::{Shared, pump};

/// Runs until `stop`.
pub(super) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    let mut accepting = shared.accepting.subscribe();
    loop {
        let wanted = *accepting.borrow_and_update();
        if wanted && listener.is_none() {
            // The port was ours a moment ago; connections in TIME_WAIT do not keep it from us.
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                let pause = tokio::time::sleep(Duration::from_millis(10));
                if stop.run_until_cancelled(pause).await.is_none() {
                    return;
                }
                continue;
            }
        } else if !wanted {
            listener = None;
        }
        shared.listening.send_replace(listener.is_some());
        let taken = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = accepting.changed() => if changed.is_err() { return },
            client = taken => if let Ok((client, _)) = client {
                let serve = serve(client, Arc::clone(&shared));
                tasks.spawn(stop.clone().run_until_cancelled_owned(serve));
            },
        }
    }
}

/// In the register for as long as it lives.
struct Registered(Arc<Shared>, Arc<Link>);

impl Registered {
    fn new(shared: Arc<Shared>) -> Self {
        let link = Arc::new(Link::new(shared.accepted.fetch_add(1, Ordering::Relaxed)));
        let mut links = shared.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.id(), Arc::clone(&link));
        drop(links);
        Self(shared, link)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Self(shared, link) = self;
        shared.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link.id());
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let registered = Registered::new(shared);
    let Registered(shared, link) = &registered;
    let Ok(mut server) = TcpStream::connect(&shared.upstream).await else {
        // What a client sees of a server that is not there.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let command = tokio::select! {
        () = pump::both(&mut client, &mut server, link, shared) => Command::Cut,
        command = link.ended() => command,
    };
    if command == Command::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}
