//! Sign-ins that are refused, in the logs of the workspaces where the account is a member.

use super::sign_in::Visit;
use crate::api::App;
use crate::domain::AccountId;
use crate::store::accounts::{self, Membership};
use crate::store::{Context, Error, sessions};

/// What of a sign-in was not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    Password,
    /// The password was right, and the authenticator's code or the recovery code was not.
    SecondFactor,
    /// The password was right, and the account needs a second factor. As it is where a form asks for one after the other.
    SecondFactorMissing,
    /// All was right, and the account is nothing there that could do anything.
    Workspace,
}

impl Failed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::SecondFactor => "second_factor",
            Self::SecondFactorMissing => "second_factor_missing",
            Self::Workspace => "workspace",
        }
    }
}

/// Notes, where the account is a member, that somebody did not get in. Beside the request, so that it takes as long where
/// there is nothing to note; no more often than other refusals, since a right password may be sent without end.
pub(super) fn note(app: &App, visit: &Visit, memberships: Vec<Membership>, failed: Failed) {
    let Some(first) = memberships.first() else { return };
    if !app.attempt_limit().allows(&first.workspace, first.member.as_str()) {
        app.metrics().attempt_not_noted();
        return;
    }
    let (store, request_id, source) = (app.store().clone(), visit.request_id.clone(), visit.source.clone());
    tokio::spawn(async move {
        let noted = store.write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                for membership in memberships {
                    let context =
                        Context { source: source.clone(), ..Context::system(membership.workspace, request_id.clone()) };
                    sessions::note_refused(tx, &context, &membership.member, failed.as_str()).await?;
                }
                Ok(())
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a refused sign-in was not noted");
        }
    });
}

/// The same for an account whose memberships are not at hand.
pub(super) async fn note_of(app: &App, visit: &Visit, account: &AccountId, failed: Failed) -> Result<(), Error> {
    let memberships = accounts::memberships(&mut app.store().read().await?, account.as_str()).await?;
    note(app, visit, memberships, failed);
    Ok(())
}
