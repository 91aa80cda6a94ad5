//! The layer between `tracing` and the queue.
//!
//! Owns the conversion of an event and its spans to one record. Must not write anything itself.

use super::record::{Fields, Record};
use super::writer::Queue;
use std::sync::Arc;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

const OUR_TARGET: &str = "camunda_backupd";

pub(super) struct Output {
    queue: Arc<Queue>,
}

impl Output {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }
}

impl<S> Layer<S> for Output
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    /// Drops events of other crates below `info` at any level: HTTP crates log requests with their headers there.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO || is_ours(metadata.target())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.inherit(outer);
            }
        }
        let target = fields.log_target.take().unwrap_or_else(|| event.metadata().target().to_owned());
        self.queue.push(Record {
            at: self.queue.clock().now(),
            level: *event.metadata().level(),
            target,
            fields,
        });
    }
}

fn is_ours(target: &str) -> bool {
    target.strip_prefix(OUR_TARGET).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
