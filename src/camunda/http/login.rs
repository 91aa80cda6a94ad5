//! The `Authorization` header, and the masking of secrets in responses.

use crate::camunda::TransportError;
use crate::domain::{Login, Secret};
use reqwest::header::HeaderValue;
use std::collections::BTreeSet;

/// Minimum length of a secret to be masked in errors. Shorter texts would match everywhere.
const MASKED_IN_ERRORS: usize = 4;
/// Minimum length of a secret to be masked in successful responses: a short password may also be part of an
/// index name.
const MASKED_IN_SUCCESS: usize = 12;
const STARS: &[u8] = b"***";

/// An `Authorization` header, and the secrets to mask in the response.
pub(super) struct Header {
    pub value: HeaderValue,
    shown: Secret,
    /// Secret from which the header was made, for example the client secret of a token. Masked as well.
    behind: Option<Secret>,
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
                "the credential `{credential}` contains characters that are invalid in a header: store only the secret there, on one line"
            );
            TransportError::NoAccess { reason, transient: false }
        })?;
        value.set_sensitive(true);
        Ok(Self { value, shown: Secret::new(text), behind: more.cloned() })
    }

    /// Masks secrets that a response repeats, so that no error shows them. In a successful response only the
    /// sent text is masked: names in the response are used, and `camunda` is a common password as well as a
    /// common name.
    pub(super) fn mask(&self, body: &mut Vec<u8>, success: bool) {
        if success && self.shown.expose().len() < MASKED_IN_SUCCESS {
            return;
        }
        mask(body, &self.shown);
        if let (Some(behind), false) = (&self.behind, success) {
            mask(body, behind);
        }
    }
}

/// Masks every occurrence of the secret: as plain text and as encoded in JSON and forms.
pub(super) fn mask(body: &mut Vec<u8>, secret: &Secret) {
    let plain = secret.expose();
    if plain.len() < MASKED_IN_ERRORS {
        return;
    }
    let json = serde_json::Value::from(plain).to_string();
    let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).unwrap_or(plain);
    let form: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    for text in BTreeSet::from([plain, json, form.as_str()]) {
        replace(body, text.as_bytes());
    }
}

fn replace(body: &mut Vec<u8>, text: &[u8]) {
    let mut rest = body.as_slice();
    let mut masked = Vec::new();
    while let Some(at) = rest.windows(text.len()).position(|piece| piece == text) {
        masked.extend_from_slice(&rest[..at]);
        masked.extend_from_slice(STARS);
        rest = &rest[at + text.len()..];
    }
    if rest.len() < body.len() {
        masked.extend_from_slice(rest);
        *body = masked;
    }
}

/// Header of a login whose secret was read. `Ok(None)` without a login, and for OAuth, whose header needs a token.
pub(super) fn header(login: &Login, secret: &Secret) -> Result<Option<Header>, TransportError> {
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

/// Header of a token that was fetched with `credential`.
pub(super) fn bearer(token: &Secret, credential: &str) -> Result<Header, TransportError> {
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
    fn secrets_repeated_by_a_response_are_masked() {
        let mut body = b"{\"you sent\":\"geheim\",\"again\":\"geheimgeheim\"}".to_vec();
        mask(&mut body, &Secret::new("geheim"));
        assert_eq!(String::from_utf8(body).unwrap(), "{\"you sent\":\"***\",\"again\":\"******\"}");
        let mut body = b"abc".to_vec();
        mask(&mut body, &Secret::new("a"));
        assert_eq!(body, b"abc");
        let mut body = "say \"pa\\\"ss wö\" or pa%22ss+w%C3%B6".as_bytes().to_vec();
        mask(&mut body, &Secret::new("pa\"ss wö"));
        assert_eq!(String::from_utf8(body).unwrap(), "say \"***\" or ***");
    }
}
