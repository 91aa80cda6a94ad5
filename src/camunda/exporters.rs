//! Exporting state (running, soft-paused or paused) as the brokers report it.
//!
//! Owns the parsing of `/actuator/partitions`. Must not pause or resume exporting.

use crate::camunda::error::ClientError;
use crate::camunda::reading::{instant, int, text, word};
use crate::camunda::response::ParsedResponse;
use crate::domain::Instant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Words of `streamProcessorPhase` with which no command is processed.
const UNPROCESSED: [&str; 4] = ["PAUSED", "FAILED", "INITIAL", "REPLAY"];

/// Exporter of every partition with a visible leader or follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exporters {
    /// By partition id. A follower's row is kept only while no leader's row was seen.
    pub partitions: BTreeMap<u32, ExporterOf>,
    /// Time on the brokers' clocks, from 8.6.
    pub clock: Option<Instant>,
    /// False if no address has the endpoint, for example only a standalone gateway. A gateway among brokers
    /// hides nothing: it has no partitions.
    pub readable: bool,
}

/// The exporter of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExporterOf {
    /// `exporterPhase`.
    pub phase: Phase,
    /// Position of the last exported record. Does not advance in a soft pause, although records are exported.
    pub exported_position: Option<i64>,
    /// `LEADER`, or another role if no leader was seen.
    pub role: String,
    /// `streamProcessorPhase`; `PROCESSING` in a healthy partition.
    pub processing: Option<String>,
    /// Position of the last processed record.
    pub processed_position: Option<i64>,
    /// The broker's clock, from 8.6.
    pub clock: Option<Instant>,
}

/// `exporterPhase` of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Exports records and advances its position.
    Exporting,
    /// Exports records without advancing its position.
    SoftPaused,
    /// Exports nothing.
    Paused,
    /// A phase unknown to this version, or a partition without a leader.
    Other(String),
}

/// Exporting state of a whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportingState {
    /// Every visible partition exports.
    Running,
    /// Every visible partition is soft-paused.
    SoftPaused,
    /// Every visible partition is paused.
    Paused,
    /// Phases differ, or a partition was not visible although its broker responded.
    Mixed,
    /// The state cannot be read.
    Unknown,
}

impl Exporters {
    /// Adds the partitions that one broker reports.
    pub(crate) fn add(&mut self, response: &ParsedResponse) -> Result<(), ClientError> {
        for (partition, row) in partitions(response)? {
            self.clock = row.clock.or(self.clock);
            match self.partitions.get_mut(&partition) {
                None => {
                    self.partitions.insert(partition, row);
                }
                Some(known) if !known.is_leader() && row.is_leader() => *known = row,
                // A leader change is in progress: neither row is reliable.
                Some(known) if known.is_leader() && row.is_leader() && known.phase != row.phase => {
                    known.phase = Phase::Other("two leaders with different phases".to_owned());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Partitions with only followers visible: the leader's broker was not queried, or there is no leader.
    pub fn leaders_not_seen(&self) -> Vec<u32> {
        self.partitions.iter().filter(|(_, row)| !row.is_leader()).map(|(partition, _)| *partition).collect()
    }

    /// Names the partitions, of `expected`, that are not visible; a sentence without its full stop.
    pub fn unseen(&self, expected: Option<u32>) -> Option<String> {
        let without: Vec<String> = self.leaders_not_seen().iter().map(ToString::to_string).collect();
        if !without.is_empty() {
            return Some(format!("no leader of partition {} was seen", without.join(", ")));
        }
        let count = self.partitions.len();
        match expected {
            Some(expected) if count < expected as usize => {
                Some(format!("the exporter phases of only {count} of {expected} partitions can be read"))
            }
            _ => (count == 0).then(|| "no partition's exporter phase can be read".into()),
        }
    }

    /// Whether a partition is paused or soft-paused.
    pub fn any_paused(&self) -> bool {
        self.partitions.values().any(|row| matches!(row.phase, Phase::SoftPaused | Phase::Paused))
    }

    /// Common state of all visible partitions. The caller compares the number of partitions with the expected
    /// one.
    pub fn state(&self) -> ExportingState {
        let mut phases = self.partitions.values().map(|p| &p.phase);
        let Some(first) = phases.next().filter(|_| self.readable) else { return ExportingState::Unknown };
        if phases.any(|phase| phase != first) {
            return ExportingState::Mixed;
        }
        match first {
            Phase::Exporting => ExportingState::Running,
            Phase::SoftPaused => ExportingState::SoftPaused,
            Phase::Paused => ExportingState::Paused,
            Phase::Other(_) => ExportingState::Mixed,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exporting => "EXPORTING",
            Self::SoftPaused => "SOFT_PAUSED",
            Self::Paused => "PAUSED",
            Self::Other(word) => word,
        })
    }
}

impl ExporterOf {
    /// Whether this row comes from the partition's leader.
    pub fn is_leader(&self) -> bool {
        self.role == "LEADER"
    }
}

/// First partition id of the second physical tenant; the third starts at twice this number. Each tenant
/// numbers its partitions from 1.
const TENANT: u32 = 100_000;

/// Partitions that one broker reports. From 8.10 on they are nested by physical tenant, and `default` is the first
/// tenant.
fn partitions(response: &ParsedResponse) -> Result<Vec<(u32, ExporterOf)>, ClientError> {
    let body = response.object()?;
    let object = body.as_object().ok_or_else(|| response.unknown_shape())?;
    let nested = object.values().any(|value| value.is_object() && value.get("role").is_none());
    if !nested {
        return object.iter().map(|(partition, row)| one(response, partition, row)).collect();
    }
    let mut tenants: Vec<_> = object.iter().collect();
    tenants.sort_by_key(|(name, _)| (name.as_str() != "default", name.as_str()));
    let mut all = Vec::new();
    for ((_, rows), offset) in tenants.into_iter().zip((0..).step_by(TENANT as usize)) {
        for (partition, row) in rows.as_object().ok_or_else(|| response.unknown_shape())? {
            let (id, exporter) = one(response, partition, row)?;
            all.push((id.saturating_add(offset), exporter));
        }
    }
    Ok(all)
}

fn one(response: &ParsedResponse, partition: &str, row: &Value) -> Result<(u32, ExporterOf), ClientError> {
    let id = partition.parse().ok().filter(|id| *id > 0).ok_or_else(|| response.unknown_shape())?;
    if row.is_object() { Ok((id, exporter(row))) } else { Err(response.unknown_shape()) }
}

fn exporter(row: &Value) -> ExporterOf {
    let role = word(&row["role"]).unwrap_or_else(|| "UNKNOWN".to_owned());
    let phase = match word(&row["exporterPhase"]).as_deref() {
        _ if role != "LEADER" => Phase::Other("no leader visible".to_owned()),
        Some("EXPORTING") => Phase::Exporting,
        Some("SOFT_PAUSED") => Phase::SoftPaused,
        Some("PAUSED") => Phase::Paused,
        Some(other) => Phase::Other(other.to_owned()),
        None => Phase::Other("no phase".to_owned()),
    };
    ExporterOf {
        phase,
        exported_position: int(&row["exportedPosition"]),
        role,
        processing: text(&row["streamProcessorPhase"]),
        processed_position: int(&row["processedPosition"]),
        clock: instant(&row["clock"]["instant"]),
    }
}

/// Names the first partition that processes no commands, as a clause without a full stop.
pub(crate) fn unprocessed(exporters: &Exporters) -> Option<String> {
    exporters.partitions.iter().filter(|(_, row)| row.is_leader()).find_map(|(partition, row)| {
        let phase = row.processing.as_deref()?;
        let stands = UNPROCESSED.iter().any(|word| phase.eq_ignore_ascii_case(word));
        stands.then(|| {
            format!("partition {partition} processes nothing ({phase}), so a backup of it would never end")
        })
    })
}

impl Exporters {
    /// The exported position of each partition that shows one.
    pub fn positions(&self) -> BTreeMap<u32, i64> {
        self.partitions.iter().filter_map(|(id, p)| Some((*id, p.exported_position?))).collect()
    }

    /// The partitions and their phases, for a sentence.
    pub(crate) fn describe(&self) -> String {
        if self.partitions.is_empty() {
            return format!("{:?}", self.state()).to_lowercase();
        }
        let phases: Vec<String> =
            self.partitions.iter().map(|(id, p)| format!("partition {id} reads {}", p.phase)).collect();
        phases.join(", ")
    }
}
