//! `kubeshark deploy`.

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::{complain, runtime};
use crate::Outcome;
use crate::capture::Age;
use crate::cluster::{Installation, Shape, bring_up, name_targets};

/// Install or upgrade Kubeshark in a cluster, and wait until it is ready.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kubeshark deploy
  kubeshark deploy -n shop '^(cart|pay)-' --set worker.storage.rows=8Gi
  kubeshark deploy --dry-run > manifests.yaml")]
pub(crate) struct Deploy {
    #[command(flatten)]
    installation: Installation,
    /// Print what would be applied, and which pods are meant, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until everything is ready.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    timeout: Age,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t)]
    output: Shape,
}

impl Deploy {
    pub(crate) fn run(self) -> Result<Outcome> {
        runtime()?.block_on(async {
            let (cluster, plan, targets) = self.installation.plan().await?;
            if self.dry_run {
                return dry_run(&plan, &targets, self.output);
            }
            let status = bring_up(&cluster, &plan, self.timeout).await?;
            name_targets(&targets);
            let result = serde_json::json!({
                "namespace": cluster.namespace(), "status": status, "targets": targets,
            });
            self.output.write(&result, |_, out| writeln!(out, "{status}"))?;
            complain(format_args!("`kubeshark proxy` opens it, `kubeshark clean` removes it"));
            Ok(Outcome::Done)
        })
    }
}

/// Shows what would be.
pub(super) fn dry_run(
    plan: &deploy::Plan,
    targets: &[deploy::Target],
    output: Shape,
) -> Result<Outcome> {
    name_targets(targets);
    let result = serde_json::json!({"objects": plan.objects, "targets": targets});
    output.write(&result, |_, out| out.write_all(plan.manifests().as_bytes()))?;
    Ok(Outcome::Done)
}
