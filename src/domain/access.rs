//! Access to one component: login, trusted certificates, proxy.
//!
//! Contains names of credentials, never their values (rule I11), because it is stored with runs and pending resumes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Access settings of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// Authentication.
    #[serde(default)]
    pub login: Login,
    /// Path of PEM certificates, trusted in addition to the system CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// URL of the HTTP proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// Authentication method.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Login {
    /// No authentication.
    #[default]
    None,
    /// HTTP Basic.
    Basic {
        /// Sent as configured.
        username: String,
        /// Name of the credential that holds the password.
        password: String,
    },
    /// A token from a file that an external process renews.
    Bearer {
        /// Name of the credential that holds the token.
        token: String,
    },
    /// OAuth 2.0 client credentials; the daemon requests and renews the token.
    Oauth(Oauth),
    /// An API key of Elasticsearch, already encoded.
    ApiKey {
        /// Name of the credential that holds the key.
        key: String,
    },
}

/// A token endpoint with its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Oauth {
    /// URL of the token endpoint.
    pub token_url: String,
    /// Client ID.
    pub client_id: String,
    /// Name of the credential that holds the client secret.
    pub client_secret: String,
    /// `audience` parameter, if the endpoint requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `scope` parameter, if the endpoint requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Sends JSON instead of a form, as documented for Camunda 8 SaaS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the credential that holds the certificate and its intermediate certificates.
    pub cert: String,
    /// Name of the credential that holds the key; may equal `cert`.
    pub key: String,
}

impl Login {
    /// Name of the required credential.
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Basic { password: name, .. }
            | Self::Bearer { token: name }
            | Self::ApiKey { key: name }
            | Self::Oauth(Oauth { client_secret: name, .. }) => Some(name),
        }
    }
}

impl Access {
    /// Names of all required credentials.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        let identity = self.identity.iter().flat_map(|identity| [identity.cert.as_str(), &identity.key]);
        self.login.credential().into_iter().chain(identity)
    }
}

/// Text of a secret; its Debug output hides the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, only for requests that need it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
