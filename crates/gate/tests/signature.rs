//! The published vectors of `X-Nightlatch-Signature`, and what an origin refuses.

use nightlatch_gate::headers::Identity;
use nightlatch_gate::headers::signature::{OriginKey, SignatureError, verify_signature};
use serde_json::Value;

struct Vector {
    key: OriginKey,
    t: u64,
    method: String,
    target: String,
    identity: Identity,
    signature: String,
}

fn vectors() -> Vec<Vector> {
    let file: Value = serde_json::from_str(include_str!("../vectors/signatures.json")).unwrap();
    let read = |vector: &Value| {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let key = text("origin_key_hex");
        let key: Vec<u8> =
            (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap()).collect();
        Vector {
            key: OriginKey::new(&key).unwrap(),
            t: vector["t"].as_u64().unwrap(),
            method: text("method"),
            target: text("target"),
            identity: Identity {
                key_id: text("key_id"),
                principal: text("principal"),
                workspace: text("workspace"),
                scopes: text("scopes"),
            },
            signature: text("signature"),
        }
    };
    file["vectors"].as_array().unwrap().iter().map(read).collect()
}

impl Vector {
    fn verify(&self, value: &str, now: u64) -> Result<(), SignatureError> {
        verify_signature(&self.key, value, now, &self.method, &self.target, &self.identity)
    }
}

#[test]
fn published_vectors() {
    for vector in vectors() {
        assert_eq!(vector.key.sign(vector.t, &vector.method, &vector.target, &vector.identity), vector.signature);
        assert_eq!(vector.verify(&vector.signature, vector.t), Ok(()));
    }
}

#[test]
fn a_signature_lasts_thirty_seconds() {
    let vector = &vectors()[0];
    for (now, expected) in [
        (vector.t + 30, Ok(())),
        (vector.t + 31, Err(SignatureError::OutsideWindow)),
        (vector.t - 30, Ok(())),
        (vector.t - 31, Err(SignatureError::OutsideWindow)),
    ] {
        assert_eq!(vector.verify(&vector.signature, now), expected);
    }
}

#[test]
fn every_field_is_covered() {
    let wrong = Err(SignatureError::Wrong);
    let changed = |change: &dyn Fn(&mut Vector)| {
        let mut vector = vectors().remove(0);
        change(&mut vector);
        vector.verify(&vector.signature, vector.t)
    };
    assert_eq!(changed(&|v| v.method.push('X')), wrong);
    assert_eq!(changed(&|v| v.target.push('X')), wrong);
    assert_eq!(changed(&|v| v.identity.key_id.push('X')), wrong);
    assert_eq!(changed(&|v| v.identity.principal.push('1')), wrong);
    assert_eq!(changed(&|v| v.identity.workspace.push('X')), wrong);
    assert_eq!(changed(&|v| v.identity.scopes.push('X')), wrong);
    assert_eq!(changed(&|v| v.key = OriginKey::new(&[9; 32]).unwrap()), wrong);
    assert_eq!(changed(&|v| v.signature = v.signature.replacen("t=17", "t=18", 1)), wrong);
    // Bytes moved from one field to the next.
    assert_eq!(
        changed(&|v| {
            let last = v.method.pop().unwrap();
            v.target.insert(0, last);
        }),
        wrong
    );
}

#[test]
fn malformed_signatures_are_refused() {
    let vector = &vectors()[0];
    let digits = vector.signature.split("v1=").nth(1).unwrap();
    for value in [
        String::new(),
        digits.to_owned(),
        format!("t=, v1={digits}"),
        format!("t=01700000000, v1={digits}"),
        format!("t=+1700000000, v1={digits}"),
        format!("t=99999999999999999999, v1={digits}"),
        format!("t=1700000000,v1={digits}"),
        format!("t=1700000000, v1={}", &digits[1..]),
        format!("t=1700000000, v1={}", digits.to_uppercase()),
        format!("t=1700000000, v1={digits}, v2=x"),
        format!("t=1700000000, v1={}", digits.replace('a', "g")),
    ] {
        assert_eq!(vector.verify(&value, vector.t), Err(SignatureError::Malformed), "{value}");
    }
}

#[test]
fn short_origin_keys_are_refused_and_none_is_printed() {
    assert!(OriginKey::new(b"fifteen bytes..").is_none());
    assert_eq!(format!("{:?}", OriginKey::new(b"sixteen bytes ok")), "Some(OriginKey(..))");
}
