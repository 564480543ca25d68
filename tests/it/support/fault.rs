//! A bad network in one process, for wherever namespaces are not allowed: a TCP relay with delay, rate, a hole that swallows
//! everything, and a reset after a number of bytes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What the relay does to what passes.
#[derive(Clone, Copy, Default)]
pub struct Fault {
    /// Each piece waits so long.
    pub delay: Duration,
    /// Bytes that one piece has at most; 0 for as many as come.
    pub piece: usize,
    /// Nothing passes, and no end either.
    pub hole: bool,
    /// The connection is reset when the device has sent this much.
    pub reset_after: Option<usize>,
}

/// The relay; connections end with it.
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    seen: Arc<Mutex<usize>>,
    _task: JoinHandle<()>,
}

impl FaultProxy {
    /// A relay to `remote` without a fault.
    pub async fn start(remote: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let fault = Arc::new(watch::Sender::new(Fault::default()));
        let seen = Arc::new(Mutex::new(0));
        let (told, count) = (Arc::clone(&fault), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(relay(near, remote, told.subscribe(), Arc::clone(&count)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, fault, seen, _task: task }
    }

    /// What happens from the next piece on, on all connections.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Bytes that devices have sent since the last call.
    pub fn take_sent(&self) -> usize {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

async fn relay(mut near: TcpStream, remote: SocketAddr, fault: watch::Receiver<Fault>, seen: Arc<Mutex<usize>>) {
    let Ok(mut far) = TcpStream::connect(remote).await else { return };
    let reset = {
        let ((from_near, to_near), (from_far, to_far)) = (near.split(), far.split());
        let up = one_way(from_near, to_far, fault.clone(), Some(seen));
        let down = one_way(from_far, to_near, fault, None);
        tokio::select! { reset = up => reset, reset = down => reset }
    };
    // A reset is a close with a linger of zero.
    for socket in reset.then_some([&near, &far]).into_iter().flatten() {
        socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
}

/// Until the end of either side, or the reset, which it returns. `seen` is there on the way from the device.
async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    seen: Option<Arc<Mutex<usize>>>,
) -> bool {
    let (mut piece, mut sent) = (vec![0; 16 * 1024], 0);
    loop {
        let now = *fault.borrow_and_update();
        if now.hole {
            if fault.changed().await.is_err() {
                return false;
            }
            continue;
        }
        let mut room = if now.piece > 0 { now.piece.min(piece.len()) } else { piece.len() };
        if let (Some(limit), true) = (now.reset_after, seen.is_some()) {
            if sent >= limit {
                return true;
            }
            room = room.min(limit - sent);
        }
        let read = tokio::select! {
            read = from.read(&mut piece[..room]) => read,
            changed = fault.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return false,
            },
        };
        let Ok(length @ 1..) = read else { return false };
        sleep(now.delay).await;
        if to.write_all(&piece[..length]).await.is_err() {
            return false;
        }
        sent += length;
        if let Some(seen) = &seen {
            *seen.lock().expect("no panic") += length;
        }
    }
}
