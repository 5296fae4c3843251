//! Scheduled jobs: what runs when, how it went, and "run now".

use std::sync::Arc;

use chrono::{DateTime, Utc};
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::Tag;
use crate::http::Problem;
use crate::http::security::{MayMonitor, MayRunJobs};
use crate::jobs::{self, Board, RunRefused};

pub(crate) struct JobsApi;

/// A job and its last run.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Job {
    name: String,
    /// Six fields, seconds first.
    cron: String,
    description: String,
    /// `once`: one of the nodes runs it when it is due; `everyNode`: each runs it for itself.
    runs: String,
    /// On whichever node.
    running: bool,
    #[oai(skip_serializing_if_is_none)]
    next_run_at: Option<DateTime<Utc>>,
    #[oai(skip_serializing_if_is_none)]
    last_run: Option<Run>,
}

/// How a run went.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Run {
    id: String,
    /// The node that made it.
    node: String,
    started_at: DateTime<Utc>,
    took_ms: u64,
    /// `cron` or `manual`.
    trigger: String,
    /// What it removed: clients, rows or keys.
    evicted: u64,
    #[oai(skip_serializing_if_is_none)]
    error: Option<String>,
}

#[derive(Object)]
struct Jobs {
    list: Vec<Job>,
}

/// The last 50 runs, newest first: of a job that runs once those of every node, else those of this node.
#[derive(Object)]
struct Runs {
    list: Vec<Run>,
}

#[OpenApi(tag = "Tag::Jobs")]
impl JobsApi {
    /// Jobs
    #[oai(path = "/jobs", method = "get")]
    async fn list(&self, _caller: MayMonitor, Data(board): Data<&Arc<Board>>) -> Json<Jobs> {
        let jobs = board.list().await.into_iter().map(|job| Job {
            name: job.name.to_owned(),
            cron: job.cron,
            description: job.description.to_owned(),
            runs: job.runs.word().to_owned(),
            running: job.running,
            next_run_at: job.next_run_at,
            last_run: job.last_run.map(run),
        });
        Json(Jobs { list: jobs.collect() })
    }

    /// Run a job now
    #[oai(path = "/jobs/:name/run", method = "post")]
    async fn run(
        &self,
        _caller: MayRunJobs,
        Data(board): Data<&Arc<Board>>,
        name: Path<String>,
    ) -> poem::Result<Json<Run>> {
        match board.run_now(&name).await {
            Ok(done) => Ok(Json(run(done))),
            Err(RunRefused::Unknown) => Err(Problem::not_found("job").into()),
            Err(RunRefused::Unavailable) => Err(Problem::unavailable().into()),
            Err(RunRefused::Running) => {
                Err(Problem::new(StatusCode::CONFLICT, "conflict", "This job is running already.").into())
            }
        }
    }

    /// The last runs of a job
    #[oai(path = "/jobs/:name/runs", method = "get")]
    async fn runs(
        &self,
        _caller: MayMonitor,
        Data(board): Data<&Arc<Board>>,
        name: Path<String>,
    ) -> poem::Result<Json<Runs>> {
        let runs = board.runs(&name).await.ok_or_else(|| Problem::not_found("job"))?;
        Ok(Json(Runs { list: runs.into_iter().map(run).collect() }))
    }
}

fn run(run: jobs::Run) -> Run {
    Run {
        id: run.id.to_string(),
        node: run.node.to_string(),
        started_at: run.started_at,
        took_ms: run.took_ms,
        trigger: run.trigger.word().to_owned(),
        evicted: run.evicted,
        error: run.error,
    }
}
