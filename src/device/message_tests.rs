//! Devices that want credentials within SOAP messages, and messages that bring their own.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use http::header::{self, AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};

use crate::{
    base::http::{Body, Response},
    device::{
        bench::{PASSWORD, Seen, answer, bench, bench_with, challenge, good},
        replay::BODY_MAX,
    },
    model::failure::Cause,
};

fn envelope(header: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">{header}<s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn not_authorized() -> Response {
    let fault = "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code></s:Fault>";
    answer(400, &[("content-type", "application/soap+xml")], &envelope("", fault))
}

/// Wants UsernameToken, made within 5 s of its clock, which is `skew` seconds ahead.
fn token_device(skew: &'static AtomicUsize) -> impl Fn(&Seen, usize) -> Response + Send + Sync + 'static {
    move |seen, _| {
        let now = SystemTime::now() + Duration::from_secs(skew.load(Relaxed) as u64);
        let now = time::OffsetDateTime::from(now);
        if seen.text().contains("GetSystemDateAndTime") {
            let (year, month, day) = now.to_calendar_date();
            let (hour, minute, second) = now.to_hms();
            let time = format!(
                "<UTCDateTime><Time><Hour>{hour}</Hour><Minute>{minute}</Minute><Second>{second}</Second></Time><Date>\
                 <Year>{year}</Year><Month>{}</Month><Day>{day}</Day></Date></UTCDateTime>",
                u8::from(month)
            );
            return answer(200, &[], &envelope("", &time));
        }
        let created = seen.text().split("<wsu:Created>").nth(1).and_then(|rest| rest.split('<').next());
        let read = |text| time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok();
        match created.and_then(read) {
            Some(created) if (now - created).whole_seconds().abs() <= 5 => answer(200, &[], "ok"),
            _ => not_authorized(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_wants_a_username_token_gets_it_in_its_own_time() {
    static SKEW: AtomicUsize = AtomicUsize::new(3600);
    let bench = bench(token_device(&SKEW));
    let message = envelope("", "<x/>");
    assert_eq!(bench.soap(&message).await.0, 200);
    assert_eq!(bench.seen(|_| ()).len(), 3, "without, the time, with");
    assert_eq!((bench.soap(&message).await.0, bench.seen(|_| ()).len()), (200, 4));
    SKEW.store(60, Relaxed);
    assert_eq!((bench.soap(&message).await.0, bench.seen(|_| ()).len()), (200, 7), "refused, the time, again");
    assert!(bench.account.proven());
}

#[tokio::test(start_paused = true)]
async fn a_device_may_say_that_it_wants_a_token_with_status_200() {
    let bench = bench(|seen, _| {
        if seen.text().contains("UsernameToken") {
            return answer(200, &[("content-type", "application/soap+xml")], &envelope("", "<here/>"));
        }
        let mut response = not_authorized();
        *response.status_mut() = http::StatusCode::OK;
        response
    });
    for tries in [3, 4] {
        let (status, text) = bench.soap(&envelope("", "<x/>")).await;
        assert_eq!((status, text), (200, envelope("", "<here/>")));
        assert_eq!(bench.seen(|_| ()).len(), tries, "without, the time, with; then with at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_passes_whole_whatever_its_length() {
    let bench = bench(|seen, _| {
        let length = seen.text().len();
        answer(200, &[("content-type", "application/soap+xml")], &envelope("", &"NotAuthorized Fault ".repeat(length)))
    });
    for length in [1, 1000] {
        let message = envelope("", &" ".repeat(length));
        let expected = envelope("", &"NotAuthorized Fault ".repeat(message.len()));
        assert_eq!(bench.soap(&message).await, (200, expected));
    }
    assert_eq!(bench.seen(|_| ()).len(), 2, "none was taken for a demand");
}

#[tokio::test(start_paused = true)]
async fn a_username_token_that_is_refused_in_the_right_time_is_a_wrong_password() {
    let bench =
        bench(
            |seen, _| {
                if seen.text().contains("GetSystemDateAndTime") { answer(404, &[], "") } else { not_authorized() }
            },
        );
    let (status, text) = bench.soap(&envelope("", "<x/>")).await;
    assert_eq!((status, bench.told()), (502, Some(Cause::DeviceCredentialsRefused)));
    assert!(text.contains("ter:Action") && !text.contains("admin"), "{text}");
    let before = bench.seen(|_| ()).len();
    assert_eq!((bench.soap(&envelope("", "<x/>")).await.0, bench.seen(|_| ()).len()), (502, before + 1));
}

#[tokio::test(start_paused = true)]
async fn credentials_within_a_message_are_cut_out_and_the_rest_is_the_same() {
    let bench = bench(good);
    let own = "<w:Security xmlns:w=\"urn:w\"><w:UsernameToken>theirs</w:UsernameToken></w:Security>";
    let with = envelope(&format!("<s:Header><a/>{own}</s:Header>"), "<x>\r\n</x>");
    assert_eq!(bench.soap(&with).await.0, 200);
    for text in bench.seen(|seen| seen.text().to_owned()) {
        assert_eq!(text, with.replace(own, ""));
    }
    for length in bench.seen(|seen| (seen.headers[header::CONTENT_LENGTH].clone(), seen.body.len())) {
        assert_eq!(length.0, length.1.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_does_not_reach_the_device() {
    let bench = bench(good);
    for message in ["<s:Envelope", "<!DOCTYPE x><x/>", ""] {
        let (status, text) = bench.soap(message).await;
        assert!(status == 400 && text.contains("ter:WellFormed"), "{message}: {text}");
    }
    let large = envelope("", &" ".repeat(BODY_MAX));
    assert_eq!((bench.soap(&large).await.0, bench.seen(|_| ()).len()), (413, 0));
}

#[tokio::test(start_paused = true)]
async fn what_an_account_may_not_do_is_told_to_the_remote_as_the_device_says_it() {
    let bench = bench(|seen, count| match seen.answers(PASSWORD, "n") {
        true if seen.text().contains("<secret/>") => not_authorized(),
        _ => good(seen, count),
    });
    assert_eq!(bench.soap(&envelope("", "<x/>")).await.0, 200);
    let (status, text) = bench.soap(&envelope("", "<secret/>")).await;
    assert!(status == 400 && text.contains("ter:NotAuthorized"), "{text}");
    assert!(bench.account.proven());
}

#[tokio::test(start_paused = true)]
async fn a_device_may_want_digest_for_pictures_and_a_token_for_messages() {
    let bench = bench(|seen, count| match seen.method.as_str() {
        "GET" => good(seen, count),
        _ if seen.text().contains("UsernameToken") => answer(200, &[], ""),
        _ => not_authorized(),
    });
    assert_eq!((bench.get("/picture").await, bench.soap(&envelope("", "<x/>")).await.0), (200, 200));
    let before = bench.seen(|_| ()).len();
    assert_eq!((bench.soap(&envelope("", "<x/>")).await.0, bench.get("/picture").await), (200, 200));
    assert_eq!(bench.seen(|_| ()).len(), before + 2, "both are foreseen");
}

#[tokio::test(start_paused = true)]
async fn with_pass_through_the_remote_may_show_its_own() {
    let bench = bench_with(true, |seen, count| match seen.authorization() {
        Some("Basic theirs") => challenge("n", ""),
        _ if seen.text().contains("theirs") => not_authorized(),
        _ => good(seen, count),
    });
    let request = http::Request::get("/a").header(AUTHORIZATION, "Basic theirs").body(Body::empty()).expect("valid");
    let response = bench.ask(request).await;
    assert!(response.status() == 401 && response.headers().contains_key(WWW_AUTHENTICATE));
    let own = "<s:Header><Security>theirs</Security></s:Header>";
    assert_eq!(bench.soap(&envelope(own, "<x/>")).await.0, 400);
    let request = http::Request::get("/a").header(COOKIE, "k=v").body(Body::empty()).expect("valid");
    assert!(bench.ask(request).await.headers().contains_key(SET_COOKIE));
    assert!(bench.seen(|seen| seen.headers.contains_key(COOKIE)).contains(&true));
}
