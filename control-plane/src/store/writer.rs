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
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::tx::{Conn, Held, Read, Tx};
use super::{Error, Work, schema};

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
    /// The newest schema that this program knows.
    known: i64,
    closing: Arc<Notify>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    /// Starts the task. It ends when it is closed or every handle is gone, after the last queued mutation.
    pub(super) fn start(conn: SqliteConnection, commits: watch::Sender<u64>, known: i64) -> Self {
        let (jobs, queue) = mpsc::channel(MAX_QUEUE);
        let closing = Arc::new(Notify::new());
        let task = tokio::spawn(run(conn, queue, closing.clone(), commits));
        Self { jobs, known, closing, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Takes no more mutations, and waits until the queued ones are committed and the connection is closed.
    pub(super) async fn close(&self) {
        self.closing.notify_one();
        if let Some(task) = self.task.lock().await.take() {
            // It cannot be cancelled and catches what panics in it.
            drop(task.await);
        }
    }

    /// Queues a mutation and waits for its commit.
    pub(super) async fn write<T, E>(&self, work: Work<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (known, (reply, answer)) = (self.known, oneshot::channel::<Reply<T, E>>());
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let fitting = async {
                    schema::fits(tx, known).await?;
                    work(tx).await
                };
                let result = AssertUnwindSafe(fitting).catch_unwind().await;
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

async fn run(
    conn: SqliteConnection,
    mut queue: mpsc::Receiver<Job>,
    closing: Arc<Notify>,
    commits: watch::Sender<u64>,
) {
    let mut tx = Tx::new(Read::new(Held::SqliteWrite(conn)));
    let mut jobs = Vec::with_capacity(MAX_BATCH);
    loop {
        tokio::select! {
            count = queue.recv_many(&mut jobs, MAX_BATCH) => {
                if count == 0 {
                    break;
                }
            }
            () = closing.notified() => {
                // What is queued is still received.
                queue.close();
                continue;
            }
        }
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
        tx.begin_mutation();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use crate::store::tx::sql;
    use crate::store::{Error, Store, Tx};

    async fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::connect(&format!("sqlite:{}", directory.path().join("db").display())).await.unwrap();
        (directory, store)
    }

    async fn insert(tx: &mut Tx, id: &str, workspace: Option<&str>) -> Result<(), Error> {
        let sql = "INSERT INTO workspaces (id, name, brand, next_key_number, next_subject, created_at) \
                   VALUES ($1, 'n', 'nl', 1, 1, 0)";
        match workspace {
            None => sql!(tx, sql, id => execute)?,
            Some(workspace) => {
                let sql = "INSERT INTO principals (workspace_id, subject, kind, name, created_at) \
                           VALUES ($1, 1, 'user', 'n', 0)";
                sql!(tx, sql, workspace => execute)?
            }
        };
        Ok(())
    }

    async fn workspaces(store: &Store) -> i64 {
        let mut read = store.read().await.unwrap();
        sql!(read, "SELECT COUNT(*) FROM workspaces WHERE kind = 'tenant'" => one (i64,)).unwrap().0
    }

    /// A batch whose commit fails: a reference to nothing, checked only at the end of the transaction.
    #[tokio::test]
    async fn a_failed_commit_is_every_callers_error() {
        let (_directory, store) = store().await;
        let (running, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        // Holds the writer until the batch behind it has queued.
        let hold = tokio::spawn({
            let (store, running, gate) = (store.clone(), running.clone(), gate.clone());
            async move {
                let work = async move {
                    running.add_permits(1);
                    gate.acquire().await.map(drop).map_err(|_| Error::Closed)
                };
                store.write::<_, Error, _>(|_| Box::pin(work)).await
            }
        });
        running.acquire().await.unwrap().forget();
        let batch: Vec<_> = (0..3)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move {
                    store
                        .write::<_, Error, _>(move |tx| {
                            Box::pin(async move {
                                if number == 1 {
                                    sql!(tx, "PRAGMA defer_foreign_keys = ON" => execute)?;
                                    return insert(tx, "", Some("ws_nowhere")).await;
                                }
                                insert(tx, &format!("ws_{number}"), None).await
                            })
                        })
                        .await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.add_permits(1);
        hold.await.unwrap().unwrap();
        for write in batch {
            assert!(matches!(write.await.unwrap(), Err(Error::Commit(_))));
        }
        assert_eq!(workspaces(&store).await, 0);
        // The writer goes on.
        store.write::<_, Error, _>(|tx| Box::pin(insert(tx, "ws_after", None))).await.unwrap();
        assert_eq!(workspaces(&store).await, 1);
    }

    /// Mutations that queue while one runs are committed together, and each is told after that.
    #[tokio::test]
    async fn what_queues_is_committed_at_once() {
        let (_directory, store) = store().await;
        let writes = (0..300).map(|number| {
            let store = store.clone();
            async move {
                store
                    .write::<_, Error, _>(move |tx| {
                        Box::pin(async move {
                            insert(tx, &format!("ws_{number}"), None).await?;
                            let count =
                                sql!(tx, "SELECT COUNT(*) FROM workspaces WHERE kind = 'tenant'" => one (i64,))?.0;
                            tx.wake_publisher();
                            Ok(count)
                        })
                    })
                    .await
                    .unwrap()
            }
        });
        let mut seen = futures::future::join_all(writes).await;
        seen.sort_unstable();
        assert_eq!(seen, (1..=300).collect::<Vec<_>>(), "one after the other");
        let commits = *store.commits().borrow();
        assert!((1..100).contains(&commits), "{commits} commits");
    }
}
