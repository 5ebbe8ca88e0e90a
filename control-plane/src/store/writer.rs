//! SQLite's only writer: it takes queued mutations and commits many at once.
//!
//! A disk flush costs far more than a mutation. While one batch is being flushed the next one queues, so the batch size
//! follows the load by itself. Each mutation runs in a savepoint: a failing one undoes only itself. Answers are sent
//! after the commit, refusals too, because a refusal may rest on an earlier mutation of the same batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};

use super::tx::{Conn, Held, Read, Tx};
use super::{Error, Work};

/// Most mutations in one transaction.
const MAX_BATCH: usize = 128;
/// Most mutations that wait; a caller beyond that waits to queue.
const MAX_QUEUE: usize = 1024;

/// A queued mutation: runs, and says whether to keep its writes and how to answer.
type Job = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Done> + Send>;

struct Done {
    keep: bool,
    answer: Answer,
}

/// Called once the fate of the transaction is known.
type Answer = Box<dyn FnOnce(Result<(), Arc<sqlx::Error>>) + Send>;

/// What the caller receives: its own result, or the panic of its mutation.
type Reply<T, E> = std::thread::Result<Result<T, E>>;

/// Sends mutations to the writer task.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the task. It ends when every handle is gone, after the last queued mutation; the returned handle resolves
    /// then.
    pub(super) fn start(conn: SqliteConnection, commits: watch::Sender<u64>) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, queue) = mpsc::channel(MAX_QUEUE);
        let task = tokio::spawn(run(conn, queue, commits));
        (Self { jobs }, task)
    }

    /// Queues a mutation and waits for its commit.
    pub(super) async fn write<T, E>(&self, work: Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel::<Reply<T, E>>();
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let result = AssertUnwindSafe(work(tx)).catch_unwind().await;
                Done {
                    keep: matches!(result, Ok(Ok(_))),
                    answer: Box::new(move |committed| {
                        let result = match committed {
                            Ok(()) => result,
                            Err(error) => Ok(Err(Error::Commit(error).into())),
                        };
                        // A caller that has gone away needs no answer.
                        drop(reply.send(result));
                    }),
                }
            })
        });
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        match answer.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Closed.into()),
        }
    }
}

async fn run(conn: SqliteConnection, mut queue: mpsc::Receiver<Job>, commits: watch::Sender<u64>) {
    let mut tx = Tx::new(Read::new(Held::SqliteWrite(conn)));
    let mut jobs = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut jobs, MAX_BATCH).await > 0 {
        let mut answers = Vec::with_capacity(jobs.len());
        let result = run_batch(&mut tx, &mut jobs, &mut answers).await.map_err(Arc::new);
        if let Err(error) = &result {
            tracing::error!(error = %error, mutations = answers.len() + jobs.len(), "a batch of mutations was not committed");
            // Where the database has already ended the transaction, there is nothing to roll back.
            drop(execute(&mut tx, "ROLLBACK").await);
        }
        if tx.take_publishes() && result.is_ok() {
            commits.send_modify(|count| *count += 1);
        }
        for answer in answers {
            answer(result.clone());
        }
        // What the failure kept from running: nothing of it happened, and dropping a job says so to its caller.
        jobs.clear();
    }
    if let Held::SqliteWrite(conn) = tx.into_read().into_held() {
        drop(conn.close().await);
    }
}

/// Runs the jobs in one transaction and commits it. On an error nothing is committed, and `jobs` holds what did not run.
async fn run_batch(tx: &mut Tx, jobs: &mut Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), sqlx::Error> {
    execute(tx, "BEGIN IMMEDIATE").await?;
    for job in std::mem::take(jobs) {
        execute(tx, "SAVEPOINT mutation").await?;
        let publishes = tx.take_publishes();
        let done = job(tx).await;
        answers.push(done.answer);
        if done.keep {
            execute(tx, "RELEASE mutation").await?;
            if publishes {
                tx.wake_publisher();
            }
        } else {
            tx.take_publishes();
            if publishes {
                tx.wake_publisher();
            }
            execute(tx, "ROLLBACK TO mutation").await?;
            execute(tx, "RELEASE mutation").await?;
        }
    }
    execute(tx, "COMMIT").await
}

async fn execute(tx: &mut Tx, statement: &'static str) -> Result<(), sqlx::Error> {
    match tx.conn() {
        Conn::Sqlite(conn) => sqlx::query(statement).execute(conn).await.map(drop),
        Conn::Postgres(_) => Err(sqlx::Error::Configuration("the SQLite writer holds a SQLite connection".into())),
    }
}
