//! A small workspace for the tests: minted and foreign keys in a map.

use nightlatch_gate::policy::{CredentialSource, Draft, OptionsRule, Policy, RouteDraft};
use nightlatch_gate::{Found, Keys, SetFacts, Unfit};
use nightlatch_key::{Brand, Digest, Environment, mint};
use nightlatch_keyset::{PrincipalKind, Profile, Record, Status};

/// The time of the tests, in unix seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const WORKSPACE: &str = "ws_example";

/// Keys by digest; or none, because the source is unfit.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) rows: Vec<(Digest, Record, Profile, &'static str)>,
    pub(crate) unfit: Option<Unfit>,
    pub(crate) only_open: bool,
}

impl Keys for World {
    fn find(&self, digest: &Digest) -> Result<Option<Found<'_>>, Unfit> {
        if let Some(unfit) = self.unfit {
            return Err(unfit);
        }
        let row = self.rows.iter().find(|(known, ..)| known == digest);
        Ok(row.map(|&(_, record, ref profile, workspace)| Found { record, profile, workspace }))
    }

    fn only_open(&self) -> bool {
        self.only_open
    }
}

impl World {
    /// Puts a key in.
    pub(crate) fn add(&mut self, text: &str, record: Record, profile: Profile) {
        self.rows.push((Digest::of(text.as_bytes()), record, profile, WORKSPACE));
    }
}

pub(crate) fn brand() -> Brand {
    Brand::new("nl").unwrap()
}

/// A key text that was issued at `issued_at` and is told from others by `seed`.
pub(crate) fn key_text(environment: Environment, issued_at: u64, seed: u8) -> String {
    mint(&brand(), environment, issued_at, &mut |bytes| bytes.fill(seed)).expose().to_owned()
}

pub(crate) fn record() -> Record {
    Record { status: Status::Active, foreign: false, deadline: None, profile: 0, subject: 7, number: 42 }
}

pub(crate) fn profile() -> Profile {
    Profile {
        kind: PrincipalKind::ServiceAccount,
        environment: Environment::Live,
        tier: None,
        scopes: vec!["invoices:read".into(), "invoices:write".into()],
        live: None,
        refused: false,
    }
}

pub(crate) fn facts() -> SetFacts<'static> {
    SetFacts { workspace: WORKSPACE, brand: brand(), accepts_foreign: true, issued: NOW * 1000 - 700, skew: 5_000 }
}

pub(crate) fn policy() -> Policy {
    let read = ["invoices:read"];
    let query = || CredentialSource::parse("query:key").unwrap();
    let draft = Draft::new("Example API")
        .developer_url("https://example.com/developers")
        .route(RouteDraft::new("GET", "/status"))
        .route(RouteDraft::new("GET", "/invoices").scopes(read))
        .route(
            RouteDraft::new("POST", "/invoices")
                .scopes(["invoices:read", "invoices:delete"])
                .options(OptionsRule::Pass),
        )
        .route(RouteDraft::new("GET", "/partners").principals([PrincipalKind::Partner]).scopes(["none"]))
        .route(
            RouteDraft::new("GET", "/sandbox").environments([Environment::Test]).principals([PrincipalKind::Partner]),
        )
        .route(RouteDraft { open: true, ..RouteDraft::new("GET", "/open") })
        .route(RouteDraft { max_connection_age: Some(60), ..RouteDraft::new("GET", "/stream") })
        .route(RouteDraft::new("GET", "/playground").environments([Environment::Test]))
        .route(RouteDraft::new("GET", "/download/{file}").credentials([CredentialSource::Bearer, query()]));
    Policy::new(draft).unwrap()
}
