//! Fault injection at every operation of a daemon: a store and a transport that count their operations and inject a fault
//! at one of them. After a crash there, every later operation of the daemon hangs.

mod bugs;
mod disk;

use camunda_backupd::camunda::{Method, Request, Response, SharedTransport, Transport, TransportError};
use camunda_backupd::clock::SharedClock;
use camunda_backupd::domain::{Component, Instant, RetentionGroup, RunId};
use camunda_backupd::journal::Step;
use camunda_backupd::store::SharedStore;
use futures::future::BoxFuture;

pub(crate) use bugs::Bug;
pub(crate) use disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Fault of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The daemon crashes right before the operation.
    DieBefore,
    /// The operation is executed, and the daemon crashes before it gets the result.
    DieAfter,
    /// It fails, and nothing is done.
    Fail,
    /// The operation is done, and its result is reported as unknown.
    LoseAnswer,
    /// Requests only: the result is unknown, and the request was not executed.
    LoseRequest,
    /// A request alone: it arrives twice.
    Twice,
    /// Requests only: executed, with an error as response.
    DoneButError(u16),
    /// Requests only: executed, with an HTML page as response.
    Page,
    /// Done, but it takes so long.
    Slow(u64),
    /// Requests only: done, with the response of an earlier request of the same kind, of another id if possible.
    Repeat,
    /// Requests only: done, and the response has another id.
    OtherId,
}

impl Fault {
    pub(crate) const TO_REQUESTS: [Self; 13] = [
        Self::DieBefore,
        Self::DieAfter,
        Self::Fail,
        Self::LoseAnswer,
        Self::LoseRequest,
        Self::Twice,
        Self::DoneButError(500),
        Self::DoneButError(504),
        Self::DoneButError(401),
        Self::Page,
        Self::Slow(25),
        Self::Repeat,
        Self::OtherId,
    ];
    pub(crate) const TO_WRITES: [Self; 6] =
        [Self::DieBefore, Self::DieAfter, Self::Fail, Self::LoseAnswer, Self::Slow(25), Self::Slow(90)];
}

/// How many newer good ones let a backup go: by cluster and pool; a pool that is not named is frozen.
pub(crate) type Keeps = BTreeMap<(String, RetentionGroup), u32>;

/// Records the operations, and injects a fault at one of them.
pub(crate) struct Script {
    inside: Mutex<Inside>,
    dead: watch::Sender<bool>,
    bug: Option<Bug>,
}

#[derive(Default)]
struct Inside {
    /// The largest id of a requested start.
    newest: i64,
    /// A Zeebe backup that was requested too early.
    early: Option<i64>,
    operations: Vec<String>,
    targets: BTreeMap<usize, Fault>,
    happened: Vec<String>,
    wrong: Vec<String>,
    starts: BTreeMap<String, usize>,
    /// The last responses to each kind of request, by URL.
    earlier: BTreeMap<String, Vec<(String, Response)>>,
    /// Deletions allowed by the active config, and by the one before the last reload, which a pass may still use.
    keeps: Option<(Keeps, Option<Keeps>)>,
    /// Backups with a confirmed hold.
    pinned: BTreeSet<RunId>,
    /// Every write takes so long.
    slow: Duration,
    resumes: Vec<Instant>,
}

impl Script {
    pub(crate) fn new(targets: impl IntoIterator<Item = (usize, Fault)>) -> Arc<Self> {
        Self::with_bug(targets, None)
    }

    /// The same with a mistake in the daemon.
    pub(crate) fn with_bug(targets: impl IntoIterator<Item = (usize, Fault)>, bug: Option<Bug>) -> Arc<Self> {
        let inside = Inside { targets: targets.into_iter().collect(), ..Inside::default() };
        Arc::new(Self { inside: Mutex::new(inside), dead: watch::Sender::new(false), bug })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(crate) fn operations(&self) -> Vec<String> {
        self.lock().operations.clone()
    }

    pub(crate) fn happened(&self) -> Vec<String> {
        self.lock().happened.clone()
    }

    /// Violations of rules that are visible only during an operation.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.dead.borrow()
    }

    /// Returns after the crash of the daemon.
    pub(crate) async fn death(&self) {
        let mut dead = self.dead.subscribe();
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Sets the allowed deletions; the previous ones stay allowed for a moment.
    pub(crate) fn keep(&self, keeps: Keeps) {
        let mut inside = self.lock();
        let before = inside.keeps.take().map(|(now, _)| now);
        inside.keeps = Some((keeps, before));
    }

    /// Backups with a confirmed hold.
    pub(crate) fn pin(&self, runs: BTreeSet<RunId>) {
        self.lock().pinned = runs;
    }

    /// Passes that began before the last reload are over.
    pub(crate) fn forget_earlier_rules(&self) {
        if let Some((_, before)) = &mut self.lock().keeps {
            *before = None;
        }
    }

    /// Injects no more faults from now on.
    pub(crate) fn stop_faults(&self) {
        self.lock().targets.clear();
    }

    /// From now on every write takes so long.
    pub(crate) fn slow_disk(&self, each: Duration) {
        self.lock().slow = each;
    }

    /// When resumes were sent.
    pub(crate) fn resumes(&self) -> Vec<Instant> {
        self.lock().resumes.clone()
    }

    /// Kills the daemon now.
    pub(crate) fn die(&self) {
        self.dead.send_replace(true);
    }

    /// The fault of this operation. A dead daemon hangs here.
    async fn operation(&self, operation: String) -> Option<Fault> {
        self.live().await;
        let inject = {
            let mut inside = self.lock();
            let number = inside.operations.len();
            let inject = inside.targets.get(&number).copied();
            if let Some(inject) = inject {
                inside.happened.push(format!("{inject:?} at operation {number}, {operation}"));
            }
            inside.operations.push(operation);
            inject
        };
        if inject == Some(Fault::DieBefore) {
            self.die();
            self.live().await;
        }
        inject
    }

    fn remember(&self, question: &str, url: String, response: &Response) {
        let mut inside = self.lock();
        let responses = inside.earlier.entry(question.to_owned()).or_default();
        responses.retain(|(requested, _)| *requested != url);
        responses.push((url, response.clone()));
        if responses.len() > 4 {
            responses.remove(0);
        }
    }

    /// Earlier response to the same request, with another id if one exists.
    fn repeated(&self, question: &str, url: &str) -> Option<(String, Response)> {
        let inside = self.lock();
        let responses = inside.earlier.get(question)?;
        let other = responses.iter().rev().find(|(requested, _)| requested != url);
        other.or(responses.last()).cloned()
    }

    async fn live(&self) {
        if self.is_dead() {
            futures::future::pending::<()>().await;
        }
    }

    async fn die_if(&self, dies: bool) {
        if dies {
            self.die();
        }
        self.live().await;
    }
}

/// Transport to the clusters.
pub(crate) struct Wire {
    pub inner: SharedTransport,
    pub script: Arc<Script>,
    pub clock: SharedClock,
    pub memory: SharedStore,
}

impl Wire {
    async fn carry(&self, request: Request) -> Result<Response, TransportError> {
        let operation = format!("{:?} {}", request.method, shape(&request.url));
        let deadline = request.deadline;
        self.judge(&request).await;
        if request.url.ends_with("/exporting/resume") {
            let now = self.clock.now();
            self.script.lock().resumes.push(now);
        }
        let inject = self.script.operation(operation.clone()).await;
        let lost = || TransportError::Lost("connection lost".into());
        match inject {
            Some(Fault::Fail) => return Err(TransportError::NotSent("connection refused".into())),
            Some(Fault::LoseRequest) => return Err(lost()),
            Some(Fault::Twice) => drop(self.inner.send(request.clone()).await),
            _ => {}
        }
        let url = request.url.clone();
        let response = self.mistaken(request).await;
        self.script.die_if(inject == Some(Fault::DieAfter)).await;
        if inject == Some(Fault::Repeat) {
            return self.script.repeated(&operation, &url).map_or(response, |(_, earlier)| Ok(earlier));
        }
        if let Ok(response) = &response {
            self.script.remember(&operation, url.clone(), response);
        }
        match inject {
            Some(Fault::LoseAnswer) => Err(lost()),
            Some(Fault::DoneButError(status)) => {
                let body = br#"{"message":"something went wrong on the way"}"#.to_vec();
                Ok(Response { status, content_type: "application/json".into(), body, retry_after: None })
            }
            Some(Fault::Page) => {
                let body = b"<html>welcome</html>".to_vec();
                Ok(Response { status: 200, content_type: "text/html".into(), body, retry_after: None })
            }
            Some(Fault::OtherId) => response.map(|response| {
                let response_id = last_number(&url).or(last_number(&String::from_utf8_lossy(&response.body)));
                of_id(response, response_id, response_id.map(|id| id - 1))
            }),
            Some(Fault::Slow(seconds)) => {
                let length = Duration::from_secs(seconds);
                self.clock.sleep(length.min(deadline)).await;
                self.script.live().await;
                if length >= deadline { Err(lost()) } else { response }
            }
            _ => response,
        }
    }

    /// Sends the request, with the seeded bug.
    async fn mistaken(&self, mut request: Request) -> Result<Response, TransportError> {
        let (path, ours) = (shape(&request.url), self.script.bug);
        let done = |status| Ok(Response { status, ..Response::default() });
        let post = matches!(request.method, Method::Post);
        match ours {
            Some(Bug::ResumeNotSent) if path.contains("/exporting/resume") => return done(204),
            Some(Bug::PauseNotSent) if path.contains("/exporting/pause") => return done(204),
            Some(Bug::PauseNotSent) if path.ends_with("/partitions") => {
                let mut response = self.inner.send(request).await?;
                let pending = !self.memory.pending_resumes().await.unwrap_or_default().is_empty();
                let text = String::from_utf8_lossy(&response.body).into_owned();
                if pending {
                    response.body = text.replace("\"EXPORTING\"", "\"SOFT_PAUSED\"").into_bytes();
                }
                return Ok(response);
            }
            Some(Bug::ZeebeFirst) => {
                if matches!(request.method, Method::Put) && path.contains("/_snapshot/") {
                    let id = last_number(&request.url);
                    self.script.lock().early = id;
                    let base = request.url.split("/search/").next().unwrap_or_default().to_owned();
                    let endpoint = if self.has_requested_history() { "backupRuntime" } else { "backups" };
                    let early = Request {
                        method: Method::Post,
                        url: format!("{base}/zeebe/actuator/{endpoint}"),
                        json: Some(serde_json::json!({ "backupId": id })),
                        access: None,
                        deadline: request.deadline,
                    };
                    drop(self.inner.send(early).await);
                    self.clock.sleep(Duration::from_secs(4)).await;
                } else if started(request.method, &path) == Some(Component::Zeebe) {
                    self.script.lock().early = None;
                    let body = br#"{"message":"A backup with id 1 has been scheduled."}"#.to_vec();
                    let content_type = "application/json".to_owned();
                    return Ok(Response { status: 202, content_type, body, retry_after: None });
                } else if path.starts_with("/zeebe/") && path.ends_with("/ID") {
                    let id = last_number(&request.url);
                    if id.is_some() && self.script.lock().early == id {
                        let message = format!("Backup with id {} does not exist", id.unwrap_or_default());
                        let body = serde_json::json!({ "message": message }).to_string().into_bytes();
                        let content_type = "application/json".to_owned();
                        return Ok(Response { status: 404, content_type, body, retry_after: None });
                    }
                }
            }
            Some(Bug::DeletesTheNewest) => {
                let id = request.json.as_ref().and_then(|json| json["backupId"].as_i64());
                if let (true, Some(id)) = (post, id) {
                    let mut inside = self.script.lock();
                    inside.newest = inside.newest.max(id);
                }
                let newest = self.script.lock().newest;
                if let (Method::Delete, Some(id)) = (request.method, last_number(&request.url)) {
                    let there = if newest > 0 { newest } else { id };
                    request.url = request.url.replace(&id.to_string(), &there.to_string());
                }
            }
            Some(Bug::AnyAnswerTaken) if matches!(request.method, Method::Get) => {
                let url = request.url.clone();
                let response = self.inner.send(request).await?;
                let waits = String::from_utf8_lossy(&response.body).contains("\"IN_PROGRESS\"");
                let earlier = self.script.repeated(&format!("Get {path}"), &url).filter(|_| waits);
                return Ok(earlier.map_or(response, |(requested, earlier)| {
                    of_id(earlier, last_number(&requested), last_number(&url))
                }));
            }
            Some(Bug::NotWaitedFor) if path.contains("/actuator/") => {
                let mut response = self.inner.send(request).await?;
                let text = String::from_utf8_lossy(&response.body).into_owned();
                response.body = text.replace("\"IN_PROGRESS\"", "\"COMPLETED\"").into_bytes();
                return Ok(response);
            }
            _ => {}
        }
        self.inner.send(request).await
    }

    fn has_requested_history(&self) -> bool {
        self.script.lock().operations.iter().any(|operation| operation.contains("/backupHistory"))
    }

    /// Rules that are visible only during an operation: intent and pending resume are on disk, and nothing starts twice.
    async fn judge(&self, request: &Request) {
        if matches!(request.method, Method::Get) || self.script.is_dead() {
            return;
        }
        let path = shape(&request.url);
        let host = request.url.split("//sim-").nth(1).and_then(|rest| rest.split('/').next());
        let cluster = host.unwrap_or_default();
        let runs = self.memory.unfinished().await.unwrap_or_default();
        if path.contains("/exporting/pause") {
            let pending = self.memory.pending_resumes().await.unwrap_or_default();
            if pending.iter().all(|pending_resume| pending_resume.cluster != cluster) {
                self.script
                    .lock()
                    .wrong
                    .push("I1: a pause is requested without a pending resume on disk".into());
            }
        }
        let Some(component) = started(request.method, &path) else { return };
        let ours = runs.iter().filter(|run| run.cluster == cluster);
        let Some(run) = ours.max_by_key(|run| run.created_at) else {
            self.script.lock().wrong.push(format!("I10: {path} is requested without a run"));
            return;
        };
        let mut inside = self.script.lock();
        if !run.view.intended.contains(&Step::Start(component)) {
            inside.wrong.push(format!("I10: {path} is requested before its intent is on disk"));
        }
        let begun = inside.starts.entry(format!("{} {component}", run.run_id)).or_default();
        *begun += 1;
        let begun = *begun;
        // A cluster that could assign ids but rejects a request without one gets our id.
        let most = if run.view.above.is_some() { 2 } else { 1 };
        if begun > most {
            inside.wrong.push(format!("I9: {component} is requested to start {begun} times in one run"));
        }
    }
}

/// The same response with another id.
fn of_id(mut response: Response, from: Option<i64>, to: Option<i64>) -> Response {
    if let (Some(from), Some(to)) = (from, to) {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        response.body = text.replace(&from.to_string(), &to.to_string()).into_bytes();
    }
    response
}

/// The component that this request starts.
fn started(method: Method, path: &str) -> Option<Component> {
    let posted = matches!(method, Method::Post);
    let ends = |end: &str| posted && path.ends_with(end);
    if matches!(method, Method::Put) && path.contains("/_snapshot/") {
        return Some(Component::Records);
    }
    if ends("/backupHistory") || ends("/backups/history") {
        return Some(Component::History);
    }
    if ends("/backupRuntime") || ends("/backups/runtime") {
        return Some(Component::Zeebe);
    }
    if !ends("/backups") {
        return None;
    }
    let part = path.split('/').nth(1)?;
    [Component::Zeebe, Component::Operate, Component::Tasklist, Component::Optimize, Component::Saas]
        .into_iter()
        .find(|component| component.name() == part)
}

/// The last number in a URL that may be an id.
fn last_number(url: &str) -> Option<i64> {
    let mut numbers = url.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() > 5);
    numbers.next_back()?.parse().ok()
}

/// The path without ids, so that two runs show the same operations.
fn shape(url: &str) -> String {
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let plain = |segment: &str| {
        let digits = segment.chars().filter(char::is_ascii_digit).count();
        if digits > 5 { "ID".to_owned() } else { segment.to_owned() }
    };
    let segments: Vec<String> = path.split('/').map(plain).collect();
    format!("/{}", segments.join("/"))
}

impl Transport for Wire {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(self.carry(request))
    }
}
