//! The rows of a task: what the last picture of every client must be equal to.

use anyhow::Context as _;
use knm_shared::ids::TaskId;
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use tokio_postgres::{Client, Row};

use super::{ItemView, Picture, Violation};

/// A task and its items as the database has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `seq`
    pub seq: i64,
    /// `status`
    pub status: TaskStatus,
    /// The counter columns.
    pub counts: Counts,
    /// `error`
    pub error: Option<String>,
    /// The items by ordinal.
    pub items: Vec<ItemView>,
}

const TASK: &str = "SELECT seq, status, error, total, pending, running, succeeded, failed, skipped, \
                    cancelled FROM progress_tasks WHERE id = $1";
const ITEMS: &str = "SELECT node, status, message, ordinal FROM progress_items WHERE task_id = $1 \
                     ORDER BY ordinal";

impl Rows {
    /// Reads both tables at one moment.
    ///
    /// # Errors
    /// When there is no such task, or a row holds what it must not.
    pub async fn read(client: &mut Client, task: TaskId) -> anyhow::Result<Self> {
        let moment = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        let head = moment.query_opt(TASK, &[&task.0]).await?;
        let head = head.with_context(|| format!("there is no task {task}"))?;
        let items = moment.query(ITEMS, &[&task.0]).await?;
        let counter =
            |at: usize| u32::try_from(head.get::<_, i32>(at)).context("a negative counter");
        Ok(Self {
            seq: head.get(0),
            status: head.get::<_, String>(1).parse()?,
            error: head.get(2),
            counts: Counts {
                total: counter(3)?,
                pending: counter(4)?,
                running: counter(5)?,
                succeeded: counter(6)?,
                failed: counter(7)?,
                skipped: counter(8)?,
                cancelled: counter(9)?,
            },
            items: items.iter().map(item).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The counters are those of the items, and the picture is the same.
    pub(super) fn compare(&self, picture: &Picture) -> Result<(), Violation> {
        let counted = Counts::of(self.items.iter().map(|i| &i.status));
        same("counters and items in the rows", &counted, &self.counts)?;
        let progress = picture.progress();
        same("seq", &picture.seq(), &self.seq)?;
        same("status", &progress.status, &self.status)?;
        same("counters", &progress.counts, &self.counts)?;
        same("error", &progress.error, &self.error)?;
        same("number of items", &picture.items().len(), &self.items.len())?;
        for (ordinal, (client, row)) in picture.items().iter().zip(&self.items).enumerate() {
            same(&format!("item {ordinal}"), client, row)?;
        }
        Ok(())
    }

    /// How many items are in a state.
    #[must_use]
    pub fn count(&self, status: ItemStatus) -> usize {
        self.items.iter().filter(|i| i.status == status).count()
    }
}

fn item(row: &Row) -> anyhow::Result<ItemView> {
    let status = row.get::<_, String>(1).parse()?;
    Ok(ItemView { node: row.get(0), status, message: row.get(2) })
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, client: &T, rows: &T) -> Result<(), Violation> {
    if client == rows {
        return Ok(());
    }
    Err(Violation::Rows {
        what: what.to_owned(),
        client: format!("{client:?}"),
        rows: format!("{rows:?}"),
    })
}
