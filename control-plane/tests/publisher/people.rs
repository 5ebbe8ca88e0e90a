//! Members, their roles and their keys, as the product makes and changes them.

use nightlatch::domain::{Issue, Key, KeyRef, Labels, Member, MemberId, MemberPatch, Name, Role, Scopes, Tier};
use nightlatch::publisher::{Publisher, rebuild};
use nightlatch::store::members::{self, Invitation};
use nightlatch::store::receipts::{self, Evidence};
use nightlatch::store::roles::{self, Granted};
use nightlatch::store::{Error, keys, os_random};
use nightlatch_key::{Digest, Environment};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::world::{Change, World};

/// What becomes of a member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Scopes(&'static str),
    Role(Role),
    Tier(&'static str),
    Name(&'static str),
    Suspended,
    Resumed,
    Removed,
}

/// The words of scopes, separated by blanks.
pub(crate) fn scopes(words: &str) -> Scopes {
    Scopes::new(words.split_ascii_whitespace()).unwrap()
}

impl World {
    /// Somebody who was invited and has come; the next in the workspace, which has to be this one.
    pub(crate) async fn member(&self, subject: u32, role: Role, own: &str) {
        self.invited(subject, role, own).await;
        self.joins(subject).await.unwrap();
    }

    /// Somebody who is invited and has not come; the next in the workspace, which has to be this one.
    pub(crate) async fn invited(&self, subject: u32, role: Role, own: &str) {
        let invitation = Invitation {
            email: format!("m{subject}@example.com"),
            name: None,
            role,
            partner: None,
            scopes: scopes(own),
            tier: None,
            code: code(subject),
            lifetime_ms: 3_600_000,
        };
        let context = self.context();
        let invited = self.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move { members::invite(tx, &context, invitation, &mut |bytes| named(subject, bytes)).await })
        });
        let invited = invited.await.unwrap();
        assert_eq!((invited.subject, invited.id), (subject, member_id(subject)));
    }

    /// Somebody brings the code that they were invited with.
    pub(crate) async fn joins(&self, subject: u32) -> Result<Member, Error> {
        let joined = self.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move { members::accept(tx, &code(subject), "acc_tests", None, "req", None).await })
        });
        joined.await
    }

    pub(crate) async fn becomes(&self, subject: u32, fate: Fate) {
        let (context, id) = (self.context(), member_id(subject));
        let done = self.store.write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                let change = match fate {
                    Fate::Suspended => return members::suspend(tx, &context, &id, None).await,
                    Fate::Resumed => return members::resume(tx, &context, &id, None).await,
                    Fate::Removed => return members::remove(tx, &context, &id, None).await,
                    Fate::Scopes(own) => MemberPatch { scopes: Some(scopes(own)), ..MemberPatch::default() },
                    Fate::Role(role) => MemberPatch { role: Some(role), ..MemberPatch::default() },
                    Fate::Tier(tier) => MemberPatch { tier: Some(Some(Tier::new(tier)?)), ..MemberPatch::default() },
                    Fate::Name(name) => MemberPatch { name: Some(Name::new(name)?), ..MemberPatch::default() },
                };
                members::patch(tx, &context, &id, None, change).await
            })
        });
        done.await.unwrap();
    }

    /// Says what a role brings; `*` among its words lets its members grant everything.
    pub(crate) async fn set_role(&self, role: Role, words: &str) {
        let (everything, own): (Vec<_>, Vec<_>) = words.split_ascii_whitespace().partition(|word| *word == "*");
        let granted = Granted { everything: !everything.is_empty(), scopes: scopes(&own.join(" ")) };
        let context = self.context();
        let done =
            self.store.write(move |tx| Box::pin(async move { roles::replace(tx, &context, role, granted).await }));
        done.await.unwrap();
    }

    pub(crate) async fn try_issue_to(
        &self,
        subject: u32,
        environment: Environment,
        scopes: &[&str],
        tier: Option<&str>,
    ) -> Result<Key, Error> {
        let context = self.context();
        let issue = Issue {
            name: Name::new("a key").unwrap(),
            environment,
            subject: Some(subject),
            scopes: Scopes::new(scopes.iter().copied()).unwrap(),
            tier: tier.map(|tier| Tier::new(tier).unwrap()),
            owner: None,
            owner_member: None,
            link: None,
            labels: Labels::default(),
            expires_at: None,
            rotate_by: None,
        };
        let issued =
            self.store.write(move |tx| Box::pin(async move { keys::issue(tx, &context, issue, &mut os_random).await }));
        Ok(issued.await?.key)
    }

    pub(crate) async fn issue_to(&self, subject: u32) -> Key {
        self.try_issue_to(subject, Environment::Live, &[], None).await.unwrap()
    }

    /// Notes of revocations what can be known, and publishes those that came with a member's removal.
    pub(crate) async fn sweep(&self) -> u64 {
        let unnoted = receipts::unnoted(&mut self.store.read().await.unwrap()).await.unwrap();
        self.store.write(move |tx| Box::pin(async move { receipts::note(tx, &unnoted).await })).await.unwrap();
        self.store.write(|tx| Box::pin(receipts::publish_revoked(tx))).await.unwrap()
    }

    /// What is known of a revocation.
    pub(crate) async fn evidence(&self, key: &Key) -> receipts::Facts {
        let mut read = self.store.read().await.unwrap();
        let key = KeyRef::Id(key.id.clone());
        match receipts::evidence(&mut read, &self.workspace, &self.set, &key).await.unwrap().unwrap() {
            Evidence::Open(facts) => *facts,
            Evidence::Decided(note) => panic!("{note}"),
        }
    }

    /// Something that people do. `known` are the members who are there.
    pub(crate) async fn live(&self, rng: &mut ChaCha8Rng, known: &mut Vec<u32>) {
        let roles = [Role::Admin, Role::Viewer];
        let words = ["", "a:read", "a:read b:write", "c:read", "b:write z:last"];
        let member = known.choose(rng).copied();
        match (rng.random_range(0..20), member) {
            (0..2, _) | (_, None) => {
                let last = self.count("SELECT MAX(subject) FROM principals").await;
                let subject = u32::try_from(last).unwrap() + 1;
                self.member(subject, *roles.choose(rng).unwrap(), words.choose(rng).unwrap()).await;
                known.push(subject);
            }
            (2..7, Some(member)) => {
                let environment = *[Environment::Live, Environment::Live, Environment::Test].choose(rng).unwrap();
                // Not while the member is suspended.
                drop(self.try_issue_to(member, environment, &[], None).await);
            }
            (7, Some(_)) => drop(self.issue(&["a:read"]).await),
            (8..10, Some(member)) => self.becomes(member, Fate::Scopes(words.choose(rng).unwrap())).await,
            (10, Some(member)) => self.becomes(member, Fate::Role(*roles.choose(rng).unwrap())).await,
            (11, Some(_)) => {
                let words = ["", "*", "* c:read", "a:read b:write"];
                self.set_role(*roles.choose(rng).unwrap(), words.choose(rng).unwrap()).await;
            }
            (12, Some(member)) => self.becomes(member, Fate::Tier("gold")).await,
            (13..15, Some(member)) => self.becomes(member, Fate::Suspended).await,
            (15..17, Some(member)) => self.becomes(member, Fate::Resumed).await,
            (17, Some(member)) => {
                self.becomes(member, Fate::Removed).await;
                known.retain(|known| *known != member);
            }
            (18, Some(_)) => drop(self.sweep().await),
            _ => {
                if let Some(key) = self.keys().await.choose(rng) {
                    let how = [Change::Disable, Change::Enable, Change::Revoke].choose(rng).unwrap().clone();
                    self.try_change(key, how).await;
                }
            }
        }
    }

    /// Stops a publisher and lets its files be checked, its base made anew. Returns what else was mended.
    pub(crate) async fn rebuilt(&self, publisher: Publisher) -> Vec<String> {
        publisher.stop().await;
        let head = crate::reader::load(&self.directory).head;
        let name = head.base_name();
        let bytes = std::fs::read(self.directory.file_path(&name)).unwrap();
        std::fs::remove_file(self.directory.file_path(&name)).unwrap();
        let mut mended = rebuild(&self.store, &self.config()).await.unwrap().files;
        assert!(std::fs::read(self.directory.file_path(&name)).unwrap() == bytes);
        mended.retain(|file| *file != name.to_text());
        mended
    }
}

fn code(subject: u32) -> Digest {
    Digest::of(&subject.to_le_bytes())
}

/// The member of that number: ids are drawn, here not by chance.
pub(crate) fn member_id(subject: u32) -> MemberId {
    let mut bytes = [0; 10];
    named(subject, &mut bytes);
    MemberId::generate(bytes)
}

fn named(subject: u32, bytes: &mut [u8]) {
    bytes[..4].copy_from_slice(&subject.to_le_bytes());
}
