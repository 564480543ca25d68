//! Tests of the verifier: the vectors of the RFCs, and each way to be turned away.

use super::*;

const LIFE: Duration = Duration::from_secs(300);
const URI: &str = "/dir/index.html";

fn verifier(realm: &str, password: &str, change: impl FnOnce(&mut Settings)) -> Verifier {
    let mut settings = Settings {
        realm: realm.to_owned(),
        algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        qop: true,
        same_uri: true,
        nonce_life: LIFE,
    };
    change(&mut settings);
    Verifier::new(settings, [("Mufasa".to_owned(), Secret::new(password))])
}

fn knows(verifier: &Verifier, nonce: &str) {
    verifier.nonces().insert(nonce.to_owned(), Nonce { used: Instant::now(), count: 0 });
}

fn granted() -> Verdict {
    Verdict::Granted("Mufasa".to_owned())
}

/// RFC 7616 §3.9.1 with the algorithm's name and its response.
fn rfc_7616(algorithm: &str, response: &str) -> String {
    format!(
        "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"{URI}\", algorithm={algorithm}, \
         nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
         cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
         opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
    )
}

const MD5: &str = "8ca523f5e9506fed4657c9700eebdbec";
const SHA256_RESPONSE: &str = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";

fn rfc_7616_verifier() -> Verifier {
    let verifier = verifier("http-auth@example.org", "Circle of Life", |_| {});
    knows(&verifier, "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
    verifier
}

#[tokio::test(start_paused = true)]
async fn the_examples_of_rfc_7616_are_granted() {
    for (algorithm, response) in [("MD5", MD5), ("SHA-256", SHA256_RESPONSE)] {
        let verdict = rfc_7616_verifier().verify(Some(&rfc_7616(algorithm, response)), "GET", URI);
        assert_eq!(verdict, granted(), "{algorithm}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_qop_is_granted_only_where_none_was_offered() {
    let answer = format!(
        "digest username=\"Mufasa\",realm=\"testrealm@host.com\",nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",\
         uri=\"{URI}\",response=\"670FD8C2DF070C60B045671B8B24FF02\""
    );
    for (qop, expected) in [(false, granted()), (true, Verdict::Refused("qop is missing"))] {
        let verifier = verifier("testrealm@host.com", "Circle Of Life", |settings| settings.qop = qop);
        knows(&verifier, "dcd98b7102dd2f0e8b11d0f600bfb0c093");
        assert_eq!(verifier.verify(Some(&answer), "GET", URI), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_heard_cannot_be_sent_again() {
    let verifier = rfc_7616_verifier();
    assert_eq!(verifier.verify(Some(&rfc_7616("MD5", MD5)), "GET", URI), granted());
    assert_eq!(verifier.verify(Some(&rfc_7616("MD5", MD5)), "GET", URI), Verdict::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_nonce_lives_as_long_as_it_is_used() {
    let verifier = verifier("r", "p", |settings| settings.qop = false);
    let nonce = nonce_of(&verifier.challenges(false)[1]);
    let answer = answer_without_qop("p", &nonce);
    for _ in 0..3 {
        tokio::time::advance(LIFE - Duration::from_millis(1)).await;
        assert_eq!(verifier.verify(Some(&answer), "GET", URI), granted());
    }
    tokio::time::advance(LIFE).await;
    assert_eq!(verifier.verify(Some(&answer), "GET", URI), Verdict::Stale);
}

fn nonce_of(challenge: &str) -> String {
    challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce").to_owned()
}

fn answer_without_qop(password: &str, nonce: &str) -> String {
    let md5 = |text: &str| Algorithm::Md5.hash(text);
    let response = md5(&format!("{}:{nonce}:{}", md5(&format!("Mufasa:r:{password}")), md5(&format!("GET:{URI}"))));
    format!("Digest username=\"Mufasa\", realm=\"r\", nonce=\"{nonce}\", uri=\"{URI}\", response=\"{response}\"")
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_refused_and_never_called_stale() {
    let verifier = verifier("r", "p", |settings| settings.qop = false);
    let nonce = nonce_of(&verifier.challenges(false)[1]);
    let refused = Verdict::Refused("user or password is wrong");
    assert_eq!(verifier.verify(Some(&answer_without_qop("q", &nonce)), "GET", URI), refused);
    assert_eq!(verifier.verify(Some(&answer_without_qop("q", "unknown")), "GET", URI), refused);
    // An unknown user has no password, not the empty one.
    let md5 = |text: &str| Algorithm::Md5.hash(text);
    let response = md5(&format!("{}:{nonce}:{}", md5("Scar:r:"), md5(&format!("GET:{URI}"))));
    let scar =
        format!("Digest username=\"Scar\", realm=\"r\", nonce=\"{nonce}\", uri=\"{URI}\", response=\"{response}\"");
    assert_eq!(verifier.verify(Some(&scar), "GET", URI), refused);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_request_is_refused() {
    let good = rfc_7616("MD5", MD5);
    let refused = |answer: &str, method: &str, uri: &str| match rfc_7616_verifier().verify(Some(answer), method, uri) {
        Verdict::Refused(sentence) => sentence,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&good, "POST", URI), "user or password is wrong");
    assert_eq!(refused(&good, "GET", "/other"), "the uri is not that of the request");
    assert_eq!(refused(&good.replace("example.org", "example.com"), "GET", URI), "the realm is another one");
    assert_eq!(refused(&good.replace("=MD5", "=SHA-512-256"), "GET", URI), "the algorithm was not offered");
    assert_eq!(refused(&good.replace("qop=auth", "qop=auth-int"), "GET", URI), "qop is not auth");
    assert_eq!(refused(&good.replace("nc=00000001", "nc=first"), "GET", URI), "nc is no number");
    assert_eq!(refused(&good.replace("cnonce", "x"), "GET", URI), "a field of the credentials is missing");
    assert_eq!(refused(&format!("{good}, nc=00000002"), "GET", URI), "a field of the credentials stands twice");
    assert_eq!(refused("Digest username=\"", "GET", URI), "the credentials cannot be read");
}

#[tokio::test(start_paused = true)]
async fn no_credentials_and_those_of_another_scheme_are_missing() {
    let verifier = rfc_7616_verifier();
    assert_eq!(verifier.verify(None, "GET", URI), Verdict::Missing);
    assert_eq!(verifier.verify(Some("Basic TXVmYXNhOng="), "GET", URI), Verdict::Missing);
    assert_eq!(verifier.verify(Some(""), "GET", URI), Verdict::Missing);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_for_each_algorithm_says_what_is_offered() {
    let verifier = verifier("a \"b\" \\c", "p", |_| {});
    let [sha, md5] = &verifier.challenges(true)[..] else { panic!("two") };
    assert!(sha.starts_with("Digest realm=\"a b c\", nonce=\"") && sha.contains("algorithm=SHA-256"), "{sha}");
    assert!(md5.contains("algorithm=MD5") && md5.ends_with(", qop=\"auth\", stale=true"), "{md5}");
    assert_ne!(nonce_of(sha), nonce_of(md5));
    assert!(!verifier.challenges(false)[0].contains("stale"));
}

#[tokio::test(start_paused = true)]
async fn nonces_are_bounded_and_the_oldest_goes_first() {
    let verifier = verifier("r", "p", |settings| {
        settings.qop = false;
        settings.algorithms = vec![Algorithm::Md5];
    });
    let first = nonce_of(&verifier.challenges(false)[0]);
    tokio::time::advance(Duration::from_millis(1)).await;
    for _ in 1..NONCES_MAX {
        verifier.challenges(false);
    }
    assert_eq!(verifier.verify(Some(&answer_without_qop("p", &first)), "GET", URI), granted());
    tokio::time::advance(Duration::from_millis(1)).await;
    for _ in 0..NONCES_MAX {
        verifier.challenges(false);
    }
    assert_eq!(verifier.nonces().len(), NONCES_MAX);
    assert_eq!(verifier.verify(Some(&answer_without_qop("p", &first)), "GET", URI), Verdict::Stale);
}
