//! Whose packets may be seen: packets name their conversation only, and conversations name their ends.
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{Guarantee, LiteralGuarantee};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use schema::FlowId;
use segment::Snapshot;
use tokio::sync::OnceCell;

use super::{Meter, Scan};
use crate::rights::{CONNECTIONS, FLOW, FLOW_COLUMNS, Permitted, Rights, permit, tells_flows};
use crate::session;
use crate::table::Template;
use crate::tables::Tables;

/// The conversations of a place whose packets a caller may see: both ends must be granted, in all that is known of
/// the conversation.
pub(crate) struct Flows {
    rights: Arc<Rights>,
    tables: Tables,
    conversations: Arc<Snapshot>,
    /// The only ones that are asked for.
    wanted: Option<HashSet<FlowId>>,
    permitted: OnceCell<Arc<Permitted>>,
}

impl Flows {
    pub(crate) fn new(
        rights: &Arc<Rights>,
        tables: &Tables,
        conversations: Arc<Snapshot>,
        predicate: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Self {
        Self {
            rights: Arc::clone(rights),
            tables: tables.clone(),
            conversations,
            wanted: predicate.and_then(wanted),
            permitted: OnceCell::new(),
        }
    }

    /// Them, once all conversations were looked at.
    pub(crate) async fn come(&self, context: &Arc<TaskContext>) -> Result<Arc<Permitted>> {
        let permitted = self.permitted.get_or_try_init(|| self.read(context)).await?;
        Ok(Arc::clone(permitted))
    }

    async fn read(&self, context: &Arc<TaskContext>) -> Result<Arc<Permitted>> {
        let mut permitted = Permitted::default();
        let known = self.tables.get(CONNECTIONS).filter(|it| tells_flows(it));
        let template = Template::find(CONNECTIONS, &self.tables, PARTITIONS);
        let (Some(_), Some(template)) = (known, template) else { return Ok(permitted.into()) };
        let columns = template.places(&FLOW_COLUMNS)?;
        let options = session::config(PARTITIONS).options().execution.parquet.clone();
        let config = template.config(options, Some(columns), None)?;
        let rows = [(Arc::from(CONNECTIONS), Arc::clone(&self.conversations))];
        let scan = Scan::new(&config, &rows, &Arc::new(Meter::default()), None)?;
        let mut forbidden = Permitted::default();
        for partition in 0..scan.properties().partitioning.partition_count() {
            let mut batches = scan.execute(partition, Arc::clone(context))?;
            while let Some(batch) = batches.next().await {
                let wanted = self.wanted.as_ref();
                permit(&self.rights, &batch?, wanted, &mut permitted, &mut forbidden);
                if permitted.len() + forbidden.len() > MOST {
                    return plan_err!(
                        "there are too many conversations to tell whose packets may be seen: \
                         ask for those of single conversations, as where flow_id = '…'"
                    );
                }
            }
        }
        permitted.retain(|it| !forbidden.contains(it));
        Ok(permitted.into())
    }
}

/// The conversations that a condition can hold for, if it names them.
fn wanted(predicate: &Arc<dyn PhysicalExpr>) -> Option<HashSet<FlowId>> {
    let all = LiteralGuarantee::analyze(predicate).into_iter();
    let mut named = all.filter(|it| it.column.name == FLOW && it.guarantee == Guarantee::In);
    let text = |it: &ScalarValue| match it {
        ScalarValue::Utf8(it) | ScalarValue::LargeUtf8(it) | ScalarValue::Utf8View(it) => {
            it.clone()
        }
        _ => None,
    };
    let named = named.next()?;
    Some(named.literals.iter().filter_map(text).filter_map(|it| FlowId::parse(&it)).collect())
}

const PARTITIONS: usize = 2;
/// Each takes some twenty bytes while packets are looked at.
const MOST: usize = 2_000_000;
