//! Sign-ins that go no further, in the logs of the workspaces where the account is a member.

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
    /// What is noted.
    const fn action(self) -> &'static str {
        match self {
            Self::SecondFactorMissing => "session.challenged",
            Self::Password | Self::SecondFactor | Self::Workspace => "session.refused",
        }
    }

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
/// there is nothing to note; no more often than other refusals, each kind for itself, since a right password may be sent
/// without end.
///
/// `asked` is the workspace that was to be entered: its log alone has it then. Where that is not said and there are several,
/// what follows on a right password was most likely done by the person, and no workspace learns from where that was.
pub(super) fn note(app: &App, visit: &Visit, memberships: &[Membership], asked: Option<&str>, failed: Failed) {
    let entered = memberships.iter().find(|one| Some(one.workspace.as_str()) == asked);
    let places = entered.map_or(memberships, std::slice::from_ref);
    let Some(first) = places.first() else { return };
    let hidden = places.len() > 1 && failed != Failed::Password;
    if hidden && failed == Failed::SecondFactorMissing {
        return;
    }
    let who = format!("{} {}", first.member, failed.as_str());
    if !app.attempt_limit().allows(&first.workspace, &who) {
        app.metrics().attempt_not_noted();
        return;
    }
    let source = visit.source.clone().filter(|_| !hidden);
    let request_id = if hidden { String::new() } else { visit.request_id.clone() };
    let (store, places) = (app.store().clone(), places.to_vec());
    tokio::spawn(async move {
        let noted = store.write::<_, Error, _>(move |tx| {
            Box::pin(async move {
                for place in places {
                    let context =
                        Context { source: source.clone(), ..Context::system(place.workspace, request_id.clone()) };
                    sessions::note_refused(tx, &context, &place.member, failed.action(), failed.as_str()).await?;
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
    note(app, visit, &memberships, None, failed);
    Ok(())
}
