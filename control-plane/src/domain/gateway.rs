//! Gateways: devices that get their key by pairing, and lose it by unpairing.
//!
//! Nothing here knows keys or codes: it says when a code is good, and what its use does to the key that is there.

use nightlatch_key::Environment;

use super::ids::principal_id;
use super::rotation::Order;
use super::{Action, KeyId, Refusal};

/// How long a pairing code works, milliseconds.
pub const CODE_LIFETIME_MS: i64 = 60 * 60 * 1000;

/// A code that has not been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// From when it is refused, unix milliseconds.
    pub expires_at: i64,
    /// What its use does to the key that is there.
    pub order: Order,
}

/// A gateway's pairing. Its name, scopes and state are its principal's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its principal's number.
    pub subject: u32,
    /// Live or test: of all its keys.
    pub environment: Environment,
    /// The code that is out, if one is.
    pub offer: Option<Offer>,
    /// The key it got last, until it is unpaired.
    pub key: Option<KeyId>,
    /// When it got that key, unix milliseconds.
    pub paired_at: Option<i64>,
    /// When it was last unpaired, unix milliseconds.
    pub unpaired_at: Option<i64>,
    /// Counts the changes of the record.
    pub revision: i64,
}

/// Where a gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// It has no key; a code is out for it.
    Waiting,
    /// It has a key.
    Paired,
    /// It has neither key nor code.
    Unpaired,
}

impl GatewayState {
    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Paired => "paired",
            Self::Unpaired => "unpaired",
        }
    }
}

/// What a pairing does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// It gives the gateway a key.
    First,
    /// It gives the gateway a successor of this key.
    Replace {
        /// The key that goes.
        key: KeyId,
        /// Whether it goes at once.
        order: Order,
    },
}

/// The call that does to a gateway's keys what cannot be done to them as keys.
pub fn call_instead(action: Action, subject: u32) -> String {
    let id = principal_id(subject);
    match action {
        Action::KeysIssue | Action::KeysRotate => format!("POST /v1/gateways/{id}/pairing-code"),
        _ => format!("POST /v1/gateways/{id}/unpair"),
    }
}

impl Gateway {
    /// A gateway that waits for its first pairing.
    pub fn new(subject: u32, environment: Environment, now: i64) -> Self {
        let offer = Some(Offer { expires_at: now.saturating_add(CODE_LIFETIME_MS), order: Order::IssueFirst });
        Self { subject, environment, offer, key: None, paired_at: None, unpaired_at: None, revision: 1 }
    }

    /// Where it stands at `now`, unix milliseconds.
    pub fn state(&self, now: i64) -> GatewayState {
        match (&self.key, self.open_offer(now)) {
            (Some(_), _) => GatewayState::Paired,
            (None, Some(_)) => GatewayState::Waiting,
            (None, None) => GatewayState::Unpaired,
        }
    }

    /// The code that can be used at `now`, if there is one.
    pub fn open_offer(&self, now: i64) -> Option<Offer> {
        self.offer.filter(|offer| now < offer.expires_at)
    }

    /// Puts another code out. A code that was out before works no more.
    #[must_use]
    pub fn offer(&self, order: Order, now: i64) -> Self {
        let offer = Some(Offer { expires_at: now.saturating_add(CODE_LIFETIME_MS), order });
        Self { offer, ..self.clone() }
    }

    /// What the use of its code does now.
    ///
    /// # Errors
    /// [`Refusal::PairingCodeUnusable`] where there is no code, or its time is over.
    pub fn pairing(&self, now: i64) -> Result<Pairing, Refusal> {
        let offer = self.open_offer(now).ok_or(Refusal::PairingCodeUnusable)?;
        Ok(match &self.key {
            None => Pairing::First,
            Some(key) => Pairing::Replace { key: key.clone(), order: offer.order },
        })
    }

    /// It has got this key: the code is used up.
    #[must_use]
    pub fn paired(&self, key: KeyId, now: i64) -> Self {
        Self { offer: None, key: Some(key), paired_at: Some(now), ..self.clone() }
    }

    /// It has neither key nor code any more. `None` where it had neither.
    pub fn unpaired(&self, now: i64) -> Option<Self> {
        if self.key.is_none() && self.offer.is_none() {
            return None;
        }
        Some(Self { offer: None, key: None, unpaired_at: Some(now), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUND_MS: i64 = 65_000;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(i64),
        Offer(bool),
        /// Somebody tries the code that was made so many codes ago.
        Pair(usize),
        Unpair,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let wait = prop_oneof![0..BOUND_MS * 2, 0..CODE_LIFETIME_MS * 2];
        let step = prop_oneof![
            3 => wait.prop_map(Step::Wait),
            3 => any::<bool>().prop_map(Step::Offer),
            5 => (0_usize..3).prop_map(Step::Pair),
            1 => Just(Step::Unpair),
        ];
        proptest::collection::vec(step, 1..60)
    }

    /// A code as a bystander knows it.
    struct Code {
        ends: i64,
        revoke_first: bool,
        used: bool,
    }

    fn key(number: usize) -> KeyId {
        KeyId::of_text(&format!("{number:010}"))
    }

    proptest! {
        /// The model keeps all codes ever made and until when each key works. Only the newest code works, once, for an
        /// hour; at most one key works without an end; none works once the gateway is unpaired.
        #[test]
        fn s1_18_a_gateway_does_what_its_model_does(steps in steps()) {
            let mut now = 1_000;
            let mut gateway = Gateway::new(7, Environment::Live, now);
            let mut codes = vec![Code { ends: now + CODE_LIFETIME_MS, revoke_first: false, used: false }];
            // By key: from when it is refused.
            let mut keys: Vec<Option<i64>> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(ms) => now += ms,
                    Step::Offer(revoke_first) => {
                        let order = if revoke_first { Order::RevokeFirst } else { Order::IssueFirst };
                        gateway = gateway.offer(order, now);
                        for code in &mut codes {
                            code.used = true;
                        }
                        codes.push(Code { ends: now + CODE_LIFETIME_MS, revoke_first, used: false });
                    }
                    Step::Pair(back) => {
                        let place = codes.len().checked_sub(back + 1);
                        let Some(code) = place.and_then(|place| codes.get_mut(place)) else { continue };
                        let good = !code.used && now < code.ends;
                        // The database finds a gateway by the digest of its newest code alone.
                        let pairing = if back == 0 { gateway.pairing(now) } else { Err(Refusal::PairingCodeUnusable) };
                        prop_assert_eq!(pairing.is_ok(), good);
                        let Ok(pairing) = pairing else { continue };
                        code.used = true;
                        let live = keys.iter().rposition(Option::is_none);
                        match (pairing, live) {
                            (Pairing::First, None) => {}
                            (Pairing::Replace { key: old, order }, Some(place)) => {
                                prop_assert_eq!(old, key(place));
                                prop_assert_eq!(order == Order::RevokeFirst, code.revoke_first);
                                keys[place] = Some(if code.revoke_first { now } else { now + BOUND_MS });
                            }
                            (other, live) => prop_assert!(false, "{other:?} with {live:?}"),
                        }
                        gateway = gateway.paired(key(keys.len()), now);
                        keys.push(None);
                    }
                    Step::Unpair => {
                        let had = gateway.key.is_some() || gateway.offer.is_some();
                        let after = gateway.unpaired(now);
                        prop_assert_eq!(after.is_some(), had);
                        if let Some(after) = after {
                            gateway = after;
                            for end in &mut keys {
                                *end = Some(end.map_or(now, |end| end.min(now)));
                            }
                            for code in &mut codes {
                                code.used = true;
                            }
                        }
                    }
                }
                let lasting = keys.iter().filter(|end| end.is_none()).count();
                prop_assert!(lasting <= 1);
                prop_assert_eq!(gateway.state(now) == GatewayState::Paired, lasting == 1);
                let newest = codes.last().unwrap();
                let open = !newest.used && now < newest.ends;
                prop_assert_eq!(gateway.open_offer(now).is_some(), open);
                prop_assert_eq!(gateway.state(now) == GatewayState::Waiting, lasting == 0 && open);
            }
        }
    }
}
