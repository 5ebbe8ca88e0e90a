//! `nightlatch admin reset-…` and `unlink`: for people who cannot prove any more who they are.

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::confirm::confirmed;
use super::exit::{Failure, Kind};
use super::home::Home;
use super::output;
use super::secret_out::SecretOut;
use crate::signin::{Email, Hashing, Password, recovery};
use crate::store::account_reset::{self, Lost, Reset};
use crate::store::{Error, Store, os_random};

/// Which account, and how the command goes about it.
#[derive(Debug, Args)]
pub(super) struct OfAccount {
    /// The account's address.
    email: String,
    #[command(flatten)]
    home: Home,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
    /// Print JSON for programs instead of text for people.
    #[arg(long)]
    json: bool,
}

/// Which account is to get a drawn password, and where that goes.
#[derive(Debug, Args)]
pub(super) struct ResetPassword {
    #[command(flatten)]
    of: OfAccount,
    #[command(flatten)]
    secret_out: SecretOut,
}

impl OfAccount {
    /// Takes the authenticator and the recovery codes away.
    pub(super) async fn reset_second_factor(self) -> Result<(), Failure> {
        let what = "take the authenticator and the recovery codes away; the password alone signs in then";
        match self.reset(Lost::SecondFactor, what, "reset-second-factor").await? {
            Some(reset) => self.tell(&reset),
            None => Ok(()),
        }
    }

    /// Forgets who the identity provider says the person is.
    pub(super) async fn unlink(self) -> Result<(), Failure> {
        let what =
            "forget who the identity provider says this is; whoever proves the address there next has the account";
        match self.reset(Lost::Identity, what, "unlink").await? {
            Some(reset) => self.tell(&reset),
            None => Ok(()),
        }
    }

    /// Looks, asks and does it. `None` where it was only to be said what would be done, and that was said.
    async fn reset(&self, lost: Lost, what: &str, command: &str) -> Result<Option<Reset>, Failure> {
        let email = Email::parse(&self.email).ok_or_else(|| Failure::usage("the address is none"))?;
        let store: Store = self.home.store().await?;
        let would = account_reset::look(&mut store.read().await?, &email, &lost).await.map_err(missing)?;
        if self.dry_run {
            return self.tell(&would).map(|()| None);
        }
        if !self.yes && !confirmed(&format!("{}: {what}. All its sessions end. [y/N] ", email.as_str()))? {
            return Err(Failure::other("nothing was changed"));
        }
        let request_id = format!("nightlatch admin {command}");
        let done = store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move { account_reset::reset(tx, &email, lost, &request_id).await })
            })
            .await;
        Ok(Some(done.map_err(missing)?))
    }

    fn tell(&self, reset: &Reset) -> Result<(), Failure> {
        if self.json {
            return output::json(&self.answer(reset));
        }
        let workspaces: Vec<_> = reset.workspaces.iter().map(ToString::to_string).collect();
        let done = if self.dry_run { "would be changed" } else { "is changed" };
        output::line(&format!(
            "{} ({}) {done}; noted in the audit log of {}. {} sessions ended. Tokens and keys go on working: see `nightlatch \
             tokens list`.",
            reset.account.email,
            reset.account.id,
            workspaces.join(", "),
            reset.sessions
        ))
    }

    fn answer(&self, reset: &Reset) -> serde_json::Value {
        let workspaces: Vec<_> = reset.workspaces.iter().map(ToString::to_string).collect();
        json!({
            "account": reset.account.id.as_str(),
            "email": reset.account.email,
            "workspaces": workspaces,
            "sessions_ended": reset.sessions,
            "dry_run": self.dry_run,
        })
    }
}

impl ResetPassword {
    /// Draws a password in place of the one that is lost.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let kept = if self.of.dry_run { None } else { Some(self.secret_out.prepare(self.of.json)?) };
        let email = Email::parse(&self.of.email).ok_or_else(|| Failure::usage("the address is none"))?;
        let drawn = SecretString::from(recovery::draw(&mut os_random).as_str());
        let password = Password::new(drawn.expose_secret(), &email).map_err(|fault| Failure::other(fault.advice()))?;
        let hash = Hashing::default().hash(password).await;
        let hash = hash.map_err(|_| Failure::new(Kind::Unavailable, "the machine is too busy; try again"))?;
        let what = "draw another password in place of the account's";
        let reset = self.of.reset(Lost::Password(hash), what, "reset-password").await?;
        let Some((reset, kept)) = reset.zip(kept) else { return Ok(()) };
        let secret = nightlatch_api::Secret::from(drawn.expose_secret());
        let mut answer = self.of.answer(&reset);
        answer["password"] = secret.expose().into();
        kept.deliver_as("password", &answer, &secret, || {
            self.of.tell(&reset)?;
            output::line(
                "Hand it over on a way that you trust; they change it with: nightlatch change-password ADDRESS",
            )
        })
    }
}

fn missing(error: Error) -> Failure {
    match error {
        Error::NotFound("account") => Failure::new(Kind::NotFound, "the address has no account"),
        Error::NotFound("second factor") => Failure::new(Kind::NotFound, "the account has no second factor"),
        Error::NotFound("identity") => Failure::new(Kind::NotFound, "the account is linked to no identity"),
        error => error.into(),
    }
}
