//! How much of a list is shown.

use std::pin::pin;

use clap::Args;
use futures::{Stream, TryStreamExt as _};
use nightlatch_api::client::ClientError;

use super::exit::Failure;

/// Rows shown where nobody says how many.
const SOME: usize = 100;
/// The longest page that the server answers.
const LONGEST_PAGE: usize = 200;

/// How many rows.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Rows {
    /// At most this many; 100 when absent.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<usize>,
    /// All there are.
    #[arg(long)]
    all: bool,
}

impl Rows {
    /// The same, where all are shown unless somebody says how many: a part would pass for the whole.
    pub(super) fn whole(self) -> Self {
        Self { all: self.limit.is_none(), ..self }
    }

    /// How many to ask for at once: one more than are shown tells whether there are more.
    pub(super) fn page(self) -> u32 {
        let most = self.most().map_or(LONGEST_PAGE, |most| most.saturating_add(1).min(LONGEST_PAGE));
        u32::try_from(most).unwrap_or(1)
    }

    /// Shows the rows there are, and says on standard error where those were not all.
    pub(super) async fn each<T>(
        self,
        rows: impl Stream<Item = Result<T, ClientError>>,
        mut show: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut rows, mut shown) = (pin!(rows), 0);
        while let Some(row) = rows.try_next().await? {
            if self.most().is_some_and(|most| shown >= most) {
                eprintln!("There are more than these {shown}; give --limit N or --all.");
                return Ok(());
            }
            show(row)?;
            shown += 1;
        }
        Ok(())
    }

    const fn most(self) -> Option<usize> {
        match (self.all, self.limit) {
            (true, _) => None,
            (false, Some(limit)) => Some(limit),
            (false, None) => Some(SOME),
        }
    }
}
