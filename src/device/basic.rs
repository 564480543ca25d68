//! HTTP Basic (RFC 7617): the password as it is. Only towards loopback, and only when the device offers no Digest.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::base::secret::Secret;

/// The value of the field Authorization.
pub fn answer(username: &str, password: &Secret) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7617_come_out() {
        assert_eq!(answer("Aladdin", &Secret::new("open sesame")), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(answer("test", &Secret::new("123\u{a3}")), "Basic dGVzdDoxMjPCow==");
    }
}
