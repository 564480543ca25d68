//! What a device asks for: challenge lists in the field WWW-Authenticate of HTTP and RTSP (RFC 9110 §11.6.1, RFC 7616 §3.3).
//!
//! Cameras send one challenge for each algorithm, several in one field, or one torn over several fields; some offer Bearer
//! or Negotiate besides. The list is parsed by a library, what it means is decided here: the strongest Digest that can be
//! answered, else Basic. What is not understood is passed over.

use http_auth::{ChallengeParser, ChallengeRef, ParamValue};

use super::digest::{Algorithm, Challenge, Qop};

/// Longest list of challenges that is read, bytes: a camera with all algorithms sends under 2 KiB.
const LIST_MAX: usize = 16 * 1024;
/// Longest nonce, realm or opaque, bytes: they come back in each request, whose head must stay small.
const PARAMETER_MAX: usize = 2048;

/// The best of the schemes that a device offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP Digest.
    Digest(Challenge),
    /// HTTP Basic.
    Basic,
}

/// The best offer in these field values, in the order of the message: SHA-256, SHA-512/256, MD5, Basic. `None` when
/// there is no challenge that can be answered.
pub fn best<'v>(values: impl Iterator<Item = &'v str> + Clone) -> Option<Offer> {
    let apart = values.clone().flat_map(offers);
    strongest(apart).or_else(|| {
        // A challenge torn over several fields: fields of one name are one list (RFC 9110 §5.3).
        let joined = values.collect::<Vec<_>>().join(", ");
        strongest(offers(&joined).into_iter())
    })
}

fn strongest(offers: impl Iterator<Item = Offer>) -> Option<Offer> {
    let rank = |offer: &Offer| match offer {
        Offer::Digest(challenge) => match challenge.algorithm {
            Algorithm::Sha256 => 0,
            Algorithm::Sha512Trunc256 => 1,
            Algorithm::Md5 => 2,
        },
        Offer::Basic => 3,
    };
    // The first of equals: the device names what it prefers first (RFC 7616 §3.7).
    offers.min_by_key(rank)
}

fn offers(list: &str) -> Vec<Offer> {
    if list.len() > LIST_MAX {
        return Vec::new();
    }
    // After an error the parser gives nothing more; what came before it holds.
    ChallengeParser::new(list).map_while(Result::ok).filter_map(|challenge| offer(&challenge)).collect()
}

fn offer(challenge: &ChallengeRef<'_>) -> Option<Offer> {
    if challenge.scheme.eq_ignore_ascii_case("basic") {
        return Some(Offer::Basic);
    }
    challenge.scheme.eq_ignore_ascii_case("digest").then(|| digest(challenge)).flatten().map(Offer::Digest)
}

fn digest(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let (_, value) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(ParamValue::to_unescaped(value)).filter(|value| value.len() <= PARAMETER_MAX)
    };
    let (algorithm, session) = match parameter("algorithm") {
        Some(name) => Algorithm::parse(&name)?,
        None => (Algorithm::Md5, false),
    };
    let qop = match parameter("qop") {
        None => Qop::None,
        Some(list) => {
            let offers = |wanted: &str| list.split([',', ' ']).any(|one| one.trim().eq_ignore_ascii_case(wanted));
            // Cameras send qop="" and mean the Digest of RFC 2069.
            match () {
                () if list.trim().is_empty() => Qop::None,
                () if offers("auth") => Qop::Auth,
                () if offers("auth-int") => Qop::AuthInt,
                () => return None,
            }
        }
    };
    let is_true = |name| parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Some(Challenge {
        realm: parameter("realm")?,
        nonce: parameter("nonce")?,
        opaque: parameter("opaque"),
        algorithm,
        session,
        qop,
        user_hash: is_true("userhash"),
        stale: is_true("stale"),
    })
}

/// The nonce that the device wants to see next (field Authentication-Info, RFC 7616 §3.5).
pub fn next_nonce(info: &str) -> Option<String> {
    if info.len() > LIST_MAX {
        return None;
    }
    // The field is a list of parameters without a scheme; with one it is what the parser of challenges reads.
    let list = format!("Info {info}");
    let challenge = ChallengeParser::new(&list).next()?.ok()?;
    let (_, value) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case("nextnonce"))?;
    Some(value.to_unescaped()).filter(|nonce| !nonce.is_empty() && nonce.len() <= PARAMETER_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<Offer> {
        best(values.iter().copied())
    }

    fn algorithm(values: &[&str]) -> Option<(Algorithm, bool, Qop)> {
        match of(values)? {
            Offer::Digest(challenge) => Some((challenge.algorithm, challenge.session, challenge.qop)),
            Offer::Basic => None,
        }
    }

    #[test]
    fn the_strongest_algorithm_is_taken_wherever_it_stands() {
        let (md5, sha) =
            ("Digest realm=\"r\", nonce=\"n\", qop=\"auth\"", "Digest realm=\"r\", nonce=\"m\", algorithm=SHA-256");
        let trunc = "Digest realm=\"r\", nonce=\"t\", algorithm=SHA-512-256, qop=\"auth-int\"";
        assert_eq!(algorithm(&[md5, sha]), Some((Algorithm::Sha256, false, Qop::None)));
        assert_eq!(algorithm(&[&format!("{md5}, {sha}")]), Some((Algorithm::Sha256, false, Qop::None)));
        assert_eq!(algorithm(&[md5, trunc]), Some((Algorithm::Sha512Trunc256, false, Qop::AuthInt)));
        assert_eq!(algorithm(&["Basic realm=\"r\"", md5]), Some((Algorithm::Md5, false, Qop::Auth)));
        assert_eq!(of(&["Basic realm=\"r\""]), Some(Offer::Basic));
    }

    #[test]
    fn schemes_and_algorithms_that_nobody_knows_are_passed_over() {
        assert_eq!(of(&["Bearer realm=\"r\"", "Negotiate", "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1"]), None);
        let md5 = "Bearer realm=\"r\", Digest realm=\"r\", nonce=\"n\", algorithm=md5-SESS, qop=\"auth-int, auth\"";
        assert_eq!(algorithm(&[md5]), Some((Algorithm::Md5, true, Qop::Auth)));
        assert_eq!(of(&["Digest realm=\"r\", nonce=\"n\", qop=\"token\""]), None);
        assert_eq!(of(&["Digest realm=\"r\""]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_cameras_write_is_read() {
        for (text, expected) in [
            ("Digest realm=\"IP Camera(12345)\",nonce=\"a:b\",stale=\"FALSE\"", (Algorithm::Md5, false, Qop::None)),
            (
                "digest qop=\"auth\", realm=\"r\", nonce=\"n\", opaque=\"\", algorithm=\"MD5\"",
                (Algorithm::Md5, false, Qop::Auth),
            ),
            ("Digest realm=\"r\", nonce=\"n\", qop=\"\"", (Algorithm::Md5, false, Qop::None)),
            ("Digest realm=\"say \\\"hi\\\"\", nonce=\"n\", qop=auth", (Algorithm::Md5, false, Qop::Auth)),
        ] {
            assert_eq!(algorithm(&[text]), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_challenge_in_pieces_is_put_together() {
        let offer = of(&["Digest realm=\"r\"", "nonce=\"n\"", "qop=\"auth\", stale=true"]);
        let Some(Offer::Digest(challenge)) = offer else { panic!("{offer:?}") };
        assert_eq!((challenge.realm.as_str(), challenge.nonce.as_str(), challenge.stale), ("r", "n", true));
    }

    #[test]
    fn parameters_without_end_are_not_kept() {
        let nonce = "n".repeat(PARAMETER_MAX + 1);
        assert_eq!(of(&[&format!("Digest realm=\"r\", nonce=\"{nonce}\"")]), None);
        assert_eq!(of(&[&format!("Digest realm=\"r\", nonce=\"n\", x=\"{}\"", "x".repeat(LIST_MAX))]), None);
    }

    #[test]
    fn the_next_nonce_is_found_among_the_others() {
        assert_eq!(next_nonce("qop=auth, rspauth=\"6629\", nextnonce=\"abc\", nc=00000001").as_deref(), Some("abc"));
        assert_eq!(next_nonce("nextnonce=\"\""), None);
        assert_eq!(next_nonce("rspauth=\"6629\""), None);
        assert_eq!(next_nonce("\u{7f}"), None);
    }

    proptest! {
        #[test]
        fn no_list_is_a_panic_and_what_is_kept_is_bounded(list in "[ -~]{0,300}", cut in 0usize..=111) {
            let good = "Digest realm=\"a\", qop=\"auth,auth-int\", algorithm=SHA-256, nonce=\"n\", opaque=\"o\", userhash=true, Basic realm=\"b\"";
            for text in [list.as_str(), &good[..cut], &format!("{}{list}", &good[..cut])] {
                if let Some(Offer::Digest(challenge)) = of(&[text]) {
                    prop_assert!(challenge.nonce.len() <= PARAMETER_MAX && challenge.realm.len() <= PARAMETER_MAX);
                }
                let _ = next_nonce(text);
            }
        }
    }
}
