//! PRIVATE COPY until the core comes.
use nightlatch_key::Digest;

use super::accounts::{self, Membership};
use super::tx::sql;
use super::{Error, Tx};
use crate::domain::AccountId;

/// Accepts.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn accept(
    tx: &mut Tx,
    digest: &Digest,
    account: &AccountId,
    name: Option<&str>,
    _request_id: &str,
    _source: Option<&str>,
) -> Result<Membership, Error> {
    let now = tx.now().await?;
    let sql = "UPDATE members SET state = 'active', account_id = $2, invite_digest = NULL, joined_at = $3, \
               name = COALESCE($4, name) \
               WHERE invite_digest = $1 AND state = 'invited' AND invite_expires_at > $3 RETURNING id";
    let row = sql!(tx, sql, digest.as_bytes().as_slice(), account.as_str(), now, name => optional (String,))?;
    let (id,) = row.ok_or(Error::NotFound("invitation"))?;
    let all = accounts::memberships(tx, account.as_str()).await?;
    all.into_iter().find(|one| one.member.as_str() == id).ok_or(Error::NotFound("invitation"))
}
