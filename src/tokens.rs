//! Tokens: how they are made and whose one is. Pure: no I/O, no store (design, section 8, "Roles").
//!
//! Layer 0b. `reconcile` makes an agent's token, `api` asks who holds one, `proxy` strips ours from what it forwards.
//! Where the secrets are kept is the business of `api::auth::files`. All comparisons take the same time whatever the
//! input, and nothing here prints a secret.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::agent::Uid;
use crate::keys::DEFAULT_TOKEN;

const AGENT_PREFIX: &str = "agentainer.";
const ADMIN_PREFIX: &str = "agentainer-admin-";
const CALLBACK_PREFIX: &str = "agentainer-callback-";

/// The secret under which agents' tokens are signed; 256 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey([u8; 32]);

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(***)")
    }
}

impl ServerKey {
    /// A new random one.
    pub fn random() -> Self {
        Self(random_secret())
    }

    /// From 64 hexadecimal digits, as kept in the data folder; `None` when it is something else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut key = [0_u8; 32];
        for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(key))
    }

    /// As 64 hexadecimal digits. A secret.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

/// A new admin token: a recognisable word and 256 random bits.
pub fn random_admin_token() -> String {
    format!("{ADMIN_PREFIX}{}", hex(&random_secret()))
}

/// The token of one life of an agent, injected as `AGENTAINER_TOKEN`: `agentainer.<uid>.<epoch>.<mac>`.
///
/// It carries what it signs, so that checking it needs no store, and a container keeps a valid one over a server's restart.
pub fn agent_token(key: &ServerKey, uid: &Uid, epoch: u64) -> String {
    format!("{AGENT_PREFIX}{uid}.{epoch}.{}", hex(&mac(key, uid, epoch)))
}

/// Who holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The operator.
    Admin,
    /// One life of an agent.
    Agent {
        /// Which.
        uid: Uid,
        /// The store's epoch when its container was made.
        epoch: u64,
    },
    /// Anybody: the seed's well-known token.
    Default,
}

/// The tokens that this server knows.
#[derive(Clone)]
pub struct Tokens {
    key: ServerKey,
    admin: [u8; 32],
    default: bool,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// From the server's secrets. `default`: whether the seed's well-known token is good for anything.
    pub fn new(key: ServerKey, admin: &str, default: bool) -> Self {
        Self {
            key,
            admin: digest(admin),
            default,
        }
    }

    /// See [`callback_key`].
    pub fn callback_key(&self, agent: &str) -> String {
        callback_key(&self.key, agent)
    }

    /// Whose token it is; `None`: nobody's.
    pub fn holder(&self, token: &str) -> Option<Holder> {
        if digest(token).ct_eq(&self.admin).into() {
            return Some(Holder::Admin);
        }
        if is_default(token) {
            return self.default.then_some(Holder::Default);
        }
        self.agent(token)
    }

    /// Whether an `Authorization` header carries a token of ours, which must not reach an agent. The well-known token is ours
    /// even where it is switched off.
    pub fn is_ours(&self, authorization: &http::HeaderValue) -> bool {
        bearer(authorization).is_some_and(|token| is_default(token) || self.holder(token).is_some())
    }

    fn agent(&self, token: &str) -> Option<Holder> {
        let mut parts = token.strip_prefix(AGENT_PREFIX)?.split('.');
        let (uid, epoch, given) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let uid = Uid(uid.to_owned());
        // Only the form that we write: `007` or `+7` would be another spelling of a valid token.
        let number = epoch.parse::<u64>().ok()?;
        if number.to_string() != epoch {
            return None;
        }
        let expected = hex(&mac(&self.key, &uid, number));
        bool::from(expected.as_bytes().ct_eq(given.as_bytes()))
            .then_some(Holder::Agent { uid, epoch: number })
    }
}

/// The token of an `Authorization: Bearer …` header (RFC 6750); the scheme's case does not matter.
pub fn bearer(authorization: &http::HeaderValue) -> Option<&str> {
    let text = authorization.to_str().ok()?;
    let (scheme, token) = text.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

fn is_default(token: &str) -> bool {
    token.as_bytes().ct_eq(DEFAULT_TOKEN.as_bytes()).into()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The key that the callbacks of agents of this name are signed with. It is the name's and not one life's: whoever is called back
/// need not be told a new one when an agent is deleted and made again.
pub fn callback_key(key: &ServerKey, agent: &str) -> String {
    let parts: [&[u8]; 2] = [b"agentainer callback key v1\0", agent.as_bytes()];
    format!("{CALLBACK_PREFIX}{}", hex(&hmac_sha256(&key.0, &parts)))
}

fn mac(key: &ServerKey, uid: &Uid, epoch: u64) -> [u8; 32] {
    let parts: [&[u8]; 4] = [
        b"agentainer agent token v1\0",
        uid.as_str().as_bytes(),
        b"\0",
        &epoch.to_be_bytes(),
    ];
    hmac_sha256(&key.0, &parts)
}

/// HMAC-SHA256 (RFC 2104) of these parts, one behind the other.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so this never falls back to another one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return random_secret();
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// From the thread's generator, which the operating system seeds.
#[expect(
    clippy::disallowed_methods,
    reason = "a secret must not come from a seed that can be replayed"
)]
fn random_secret() -> [u8; 32] {
    rand::random()
}

/// As hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn tokens() -> (Tokens, ServerKey, String) {
        let (key, admin) = (ServerKey::random(), random_admin_token());
        (Tokens::new(key.clone(), &admin, true), key, admin)
    }

    #[test]
    fn each_token_has_its_holder() {
        let (tokens, key, admin) = tokens();
        let uid = Uid::random();
        assert_eq!(tokens.holder(&admin), Some(Holder::Admin));
        assert_eq!(tokens.holder(DEFAULT_TOKEN), Some(Holder::Default));
        let token = agent_token(&key, &uid, 7);
        assert_eq!(tokens.holder(&token), Some(Holder::Agent { uid, epoch: 7 }));
    }

    #[test]
    fn law_7_a_changed_agent_token_is_nobodys() {
        let (tokens, key, _) = tokens();
        let token = agent_token(&key, &Uid("a".into()), 7);
        let other = agent_token(&key, &Uid("b".into()), 7);
        let mac = other.rsplit('.').next().unwrap();
        for forged in [
            format!("agentainer.a.7.{mac}"),
            token.replace(".7.", ".07."),
            token.replace(".7.", ".8."),
            format!("{token}.x"),
            format!("{token}0"),
            token.to_uppercase(),
            "agentainer.a.7.".to_owned(),
            "agentainer.".to_owned(),
            String::new(),
        ] {
            assert_eq!(tokens.holder(&forged), None, "{forged}");
        }
        let stranger = agent_token(&ServerKey::random(), &Uid("a".into()), 7);
        assert_eq!(tokens.holder(&stranger), None);
    }

    #[test]
    fn the_well_known_token_can_be_switched_off_and_is_still_stripped() {
        let tokens = Tokens::new(ServerKey::random(), "x", false);
        assert_eq!(tokens.holder(DEFAULT_TOKEN), None);
        let header = HeaderValue::from_str(&format!("Bearer {DEFAULT_TOKEN}")).unwrap();
        assert!(tokens.is_ours(&header));
    }

    #[test]
    fn law_7_only_our_own_authorization_is_ours() {
        let (tokens, key, admin) = tokens();
        let agent = agent_token(&key, &Uid::random(), 1);
        for (text, ours) in [
            (format!("Bearer {admin}"), true),
            (format!("bearer  {admin} "), true),
            (format!("BEARER {agent}"), true),
            ("Bearer somebody-elses".to_owned(), false),
            (format!("Basic {admin}"), false),
            (admin.clone(), false),
        ] {
            let header = HeaderValue::from_str(&text).unwrap();
            assert_eq!(tokens.is_ours(&header), ours);
        }
    }

    #[test]
    fn law_7_each_agents_callbacks_have_a_key_that_opens_nothing_else() {
        let (tokens, key, _) = tokens();
        let users = callback_key(&key, "users");
        assert_eq!(users, callback_key(&key, "users"));
        assert_ne!(users, callback_key(&key, "auth"));
        assert_ne!(users, callback_key(&ServerKey::random(), "users"));
        assert_eq!(tokens.holder(&users), None);
    }

    #[test]
    fn law_7_secrets_are_never_printed() {
        let (tokens, key, admin) = tokens();
        let printed = format!("{tokens:?} {key:?}");
        assert!(!printed.contains(&key.to_hex()) && !printed.contains(&admin));
        assert_eq!(ServerKey::from_hex(&key.to_hex()), Some(key));
        assert_eq!(ServerKey::from_hex("zz"), None);
    }
}
