//! How one component is reached: who we say we are, whose certificates are believed, through which proxy.
//!
//! Holds names of credentials, never their values (rule I11), because it is stored with runs and debts.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What one component wants of those who reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// Who we say we are.
    #[serde(default)]
    pub login: Login,
    /// File of PEM certificates that are believed beside the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Certificate and key that we show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// URL of the proxy that all requests go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// Who we say we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Login {
    /// Nobody.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Name of the credential that holds the password.
        password: String,
    },
    /// A token that somebody renews in its file.
    Bearer {
        /// Name of the credential that holds it.
        token: String,
    },
    /// OAuth 2.0 client credentials: a token is fetched and renewed by us.
    Oauth(Oauth),
    /// An API key of Elasticsearch, already encoded.
    ApiKey {
        /// Name of the credential that holds it.
        key: String,
    },
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Oauth {
    /// The token endpoint.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// Name of the credential that holds the client's secret.
    pub client_secret: String,
    /// For whom the token is, where the endpoint wants it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// What the token is for, where the endpoint wants it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Asked with JSON instead of a form, as Camunda's own cloud documents it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the credential that holds the certificate and those that vouch for it.
    pub cert: String,
    /// Name of the credential that holds the key; may be the same one.
    pub key: String,
}

impl Login {
    /// The credential it needs.
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
    /// Every credential it needs.
    pub fn credentials(&self) -> impl Iterator<Item = &str> {
        let identity = self.identity.iter().flat_map(|identity| [identity.cert.as_str(), &identity.key]);
        self.login.credential().into_iter().chain(identity)
    }
}

/// A secret's text, which no format shows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
