//! The `Authorization` header, and that nothing an answer repeats of it is kept.

use crate::clients::TransportError;
use crate::domain::{Login, Secret};
use reqwest::header::HeaderValue;

/// Shorter texts are not searched for in answers: they would be found everywhere.
const BLOTTED: usize = 4;
const STARS: &[u8] = b"***";

/// A header, and the secrets in it.
pub struct Header {
    pub value: HeaderValue,
    secrets: Vec<Secret>,
}

impl Header {
    fn new(
        scheme: &str,
        text: &str,
        credential: &str,
        more: Option<&Secret>,
    ) -> Result<Self, TransportError> {
        let mut value = HeaderValue::from_str(&format!("{scheme} {text}")).map_err(|_| {
            let reason = format!(
                "the credential `{credential}` holds characters that no header can carry: put only the secret there, on one line"
            );
            TransportError::NoAccess { reason, passing: false }
        })?;
        value.set_sensitive(true);
        Ok(Self { value, secrets: [Secret::new(text)].into_iter().chain(more.cloned()).collect() })
    }

    /// Replaces what an answer repeats of the secrets, so that no error can show them.
    pub fn blot(&self, body: &mut Vec<u8>) {
        for secret in &self.secrets {
            blot(body, secret);
        }
    }
}

/// Replaces the secret wherever it stands.
pub fn blot(body: &mut Vec<u8>, secret: &Secret) {
    let text = secret.expose().as_bytes();
    if text.len() < BLOTTED {
        return;
    }
    let mut from = 0;
    while let Some(at) = body[from..].windows(text.len()).position(|piece| piece == text) {
        body.splice(from + at..from + at + text.len(), STARS.iter().copied());
        from += at + STARS.len();
    }
}

/// The header of a login whose secret is known.
pub fn header(login: &Login, secret: &Secret) -> Result<Option<Header>, TransportError> {
    let text = secret.expose();
    match login {
        Login::None | Login::Oauth(_) => Ok(None),
        Login::Basic { username, password } => {
            let encoded = base64(format!("{username}:{text}").as_bytes());
            Header::new("Basic", &encoded, password, Some(secret)).map(Some)
        }
        Login::Bearer { token } => Header::new("Bearer", text, token, None).map(Some),
        Login::ApiKey { key } => Header::new("ApiKey", text, key, None).map(Some),
    }
}

/// The header of a token that was fetched with `credential`.
pub fn bearer(token: &Secret, credential: &str) -> Result<Header, TransportError> {
    Header::new("Bearer", token.expose(), credential, None)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "")]
    #[case("f", "Zg==")]
    #[case("fo", "Zm8=")]
    #[case("foo", "Zm9v")]
    #[case("foob", "Zm9vYg==")]
    #[case("fooba", "Zm9vYmE=")]
    #[case("foobar", "Zm9vYmFy")]
    #[case("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ==")]
    fn base64_is_that_of_rfc_4648(#[case] plain: &str, #[case] encoded: &str) {
        assert_eq!(base64(plain.as_bytes()), encoded);
    }

    #[test]
    fn what_an_answer_repeats_is_blotted_out() {
        let mut body = b"{\"you sent\":\"geheim\",\"again\":\"geheimgeheim\"}".to_vec();
        blot(&mut body, &Secret::new("geheim"));
        assert_eq!(String::from_utf8(body).unwrap(), "{\"you sent\":\"***\",\"again\":\"******\"}");
        let mut body = b"abc".to_vec();
        blot(&mut body, &Secret::new("a"));
        assert_eq!(body, b"abc");
    }
}
