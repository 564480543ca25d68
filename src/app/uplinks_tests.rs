//! A change is answered when it is in force, whoever else changed the document meanwhile.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use super::*;
use crate::{
    config::{read, source::Document},
    model::{address::Scheme, authorization::AuthorizationMode},
};

/// Says that it wrote this text.
struct Wrote(&'static str);

impl ConfigStore for Wrote {
    fn change(&self, _device: &str, _edit: Edit) -> BoxFuture<'static, Result<Document, StoreError>> {
        let document = Document { name: "u.yaml".to_owned(), text: self.0.to_owned(), base_dir: PathBuf::new() };
        Box::pin(std::future::ready(Ok(document)))
    }
}

fn served() -> Served {
    Served { schemes: vec![Scheme::Https], authorization_modes: vec![AuthorizationMode::Mtls], ..Served::default() }
}

fn document(level: &str) -> Arc<Current> {
    let text = format!(
        "devices: [{{ name: camera-1, http: http://127.0.0.1:80, uplinks: [{{ remoteAddress: https://a/, certificateID: c, userLevel: \
         {level} }}] }}]\ncertificates: {{ c: {{ certFile: a, keyFile: b }} }}\n"
    );
    let configuration = read(&text, Path::new("/"), &served()).expect("good");
    Arc::new(Current { text, configuration })
}

fn edit(level: &str) -> Edit {
    Edit::Set(Entry {
        remote_address: "https://a/".to_owned(),
        certificate_id: Some("c".to_owned()),
        user_level: vec![level.to_owned()],
        ..Entry::default()
    })
}

/// How long a change takes to be answered while `current` is in force.
async fn takes(current: Arc<Current>, edit: Edit) -> (Duration, bool) {
    let (_sender, current) = watch::channel(current);
    let (reload, mut asked) = mpsc::channel(1);
    let board = StatusBoard::new();
    let uplinks = Uplinks { current, board, store: Arc::new(Wrote("another text")), reload, served: served() };
    let begin = Instant::now();
    uplinks.change("camera-1", edit).await.expect("written");
    (begin.elapsed(), asked.try_recv().is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_in_force_with_another_is_answered_at_once() {
    assert_eq!(takes(document("User"), edit("onvif:User")).await, (Duration::ZERO, true));
    assert_eq!(takes(document("User"), Edit::Delete("https://b/".to_owned())).await, (Duration::ZERO, true));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_in_force_is_waited_for_and_not_for_ever() {
    for edit in [edit("Operator"), Edit::Delete("https://a/".to_owned())] {
        let (took, asked) = takes(document("User"), edit).await;
        assert!(took >= IN_FORCE_PATIENCE && took < 2 * IN_FORCE_PATIENCE && asked, "{took:?}");
    }
}
