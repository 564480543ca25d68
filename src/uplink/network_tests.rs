//! What a changed network does to an uplink: the change is told by the test, the way is asked of this host's kernel.

use std::{net::Ipv4Addr, time::Duration};

use tokio::time::Instant;

use super::testing::{World, uplink};
use crate::model::{desired::DesiredSet, failure::Cause, failure::Failure, status::Status};

/// A world whose uplink's session starts from `local`, online.
async fn online_from(local: [u8; 4]) -> (World, super::testing::Cloud) {
    let mut world = World::new();
    *world.transport.local.lock().expect("one thread") = Ipv4Addr::from(local);
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let cloud = world.cloud().await;
    world.until_status(&uplink("camera-1", 80).key(), Status::Online).await;
    (world, cloud)
}

fn change(world: &World) {
    world.network.send_modify(|count| *count += 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_leaves_the_way_alone_is_not_noticed() {
    let (mut world, cloud) = online_from([127, 0, 0, 1]).await;
    change(&world);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.arrivals.try_recv().is_err());
    assert_eq!(cloud.get(0).await.expect("the same session"), "80");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_address_is_gone_is_cut_and_dialed_at_once() {
    // TEST-NET-1 is on no host.
    let (mut world, _cloud) = online_from([192, 0, 2, 1]).await;
    let began = Instant::now();
    change(&world);
    let key = uplink("camera-1", 80).key();
    world
        .until(&key, |status| {
            status.and_then(|status| status.error.as_ref()).is_some_and(|error| error.cause == Cause::NetworkChanged)
        })
        .await;
    let _second = world.cloud().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    world.until_status(&key, Status::Online).await;
}

#[tokio::test(start_paused = true)]
async fn another_way_out_gets_a_new_session_before_the_old_one_drains() {
    let (mut world, cloud) = online_from([127, 0, 0, 2]).await;
    let slow = tokio::spawn(async move { cloud.get(10).await });
    tokio::task::yield_now().await;
    change(&world);
    let second = world.cloud().await;
    assert_eq!(second.get(0).await.expect("the new session serves"), "80");
    assert_eq!(slow.await.expect("no panic").expect("the old one finishes"), "80");
}

#[tokio::test(start_paused = true)]
async fn an_uplink_that_waits_is_tried_when_the_network_changes() {
    let mut world = World::new();
    for _ in 0..6 {
        world.fail_next(Failure::new(Cause::Unreachable, "no network"));
    }
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let mut last = world.arrival().await.at;
    for _ in 0..4 {
        last = world.arrival().await.at;
    }
    // The next one is due half a minute later.
    tokio::time::sleep(Duration::from_secs(5)).await;
    change(&world);
    let next = world.arrival().await.at;
    assert!(next - last < Duration::from_secs(7), "{:?}", next - last);
}
