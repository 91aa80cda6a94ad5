//! Content of a store, as spans of log positions, each from one timeline.
//!
//! Owns `Content`: the documents of one partition in one store. Must not know the meaning of the records.
//!
//! The position alone identifies a document, as in the real indices (`partition-position` is the document
//! id). A record of another timeline at the same position therefore replaces the document. Each restore
//! starts a timeline: positions after the checkpoint are used again, for other records.

/// Positions `from..=to` of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First position.
    pub from: u64,
    /// Last position.
    pub to: u64,
    /// Timeline of the records.
    pub timeline: u32,
}

impl Span {
    fn clip(self, from: u64, to: u64) -> Option<Self> {
        let clipped = Self { from: self.from.max(from), to: self.to.min(to), ..self };
        (clipped.from <= clipped.to).then_some(clipped)
    }
}

/// Spans in order of position, without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    spans: Vec<Span>,
}

impl Content {
    /// Writes the documents of `span`; returns the replaced documents of other timelines.
    pub fn insert(&mut self, span: Span) -> Vec<Span> {
        if span.from > span.to {
            return Vec::new();
        }
        if let Some(last) = self.spans.last_mut() {
            if last.timeline == span.timeline && span.from >= last.from && span.from <= last.to + 1 {
                last.to = last.to.max(span.to);
                return Vec::new();
            }
            if span.from > last.to {
                self.spans.push(span);
                return Vec::new();
            }
        }
        let mut replaced = Vec::new();
        let mut kept = Vec::with_capacity(self.spans.len() + 2);
        for old in self.spans.drain(..) {
            let Some(hit) = old.clip(span.from, span.to) else {
                kept.push(old);
                continue;
            };
            if old.timeline != span.timeline {
                replaced.push(hit);
            }
            kept.extend(old.clip(0, span.from.saturating_sub(1)).filter(|_| span.from > 0));
            kept.extend(old.clip(span.to.saturating_add(1), u64::MAX));
        }
        kept.push(span);
        kept.sort_by_key(|s| s.from);
        for next in kept {
            match self.spans.last_mut() {
                Some(last) if last.timeline == next.timeline && last.to + 1 == next.from => last.to = next.to,
                _ => self.spans.push(next),
            }
        }
        replaced
    }

    /// Timeline of the document at `position`, if the document exists.
    pub fn timeline_at(&self, position: u64) -> Option<u32> {
        let index = self.spans.partition_point(|s| s.to < position);
        self.spans.get(index).filter(|s| s.from <= position).map(|s| s.timeline)
    }

    /// Spans after `position`; a span that contains it is clipped.
    pub fn after(&self, position: u64) -> impl Iterator<Item = Span> {
        self.spans.iter().filter_map(move |s| s.clip(position.saturating_add(1), u64::MAX))
    }

    /// Every span.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Highest position; 0 if empty.
    pub fn end(&self) -> u64 {
        self.spans.last().map_or(0, |s| s.to)
    }

    /// End of the sequence without gaps that starts after `base`.
    pub fn whole_up_to(&self, base: u64) -> u64 {
        let mut end = base;
        for span in &self.spans {
            if span.from > end + 1 {
                break;
            }
            end = end.max(span.to);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: u64, to: u64, timeline: u32) -> Span {
        Span { from, to, timeline }
    }

    #[test]
    fn writing_the_same_documents_again_changes_nothing() {
        let mut content = Content::default();
        content.insert(span(1, 10, 0));
        content.insert(span(11, 20, 0));
        assert_eq!(content.insert(span(5, 15, 0)), []);
        assert_eq!(content.spans(), [span(1, 20, 0)]);
    }

    #[test]
    fn insert_returns_documents_replaced_by_another_timeline() {
        let mut content = Content::default();
        content.insert(span(1, 20, 0));
        assert_eq!(content.insert(span(15, 17, 1)), [span(15, 17, 0)]);
        assert_eq!(content.spans(), [span(1, 14, 0), span(15, 17, 1), span(18, 20, 0)]);
        assert_eq!(content.timeline_at(16), Some(1));
        assert_eq!(content.timeline_at(21), None);
    }

    #[test]
    fn hole_remains_until_it_is_filled() {
        let mut content = Content::default();
        content.insert(span(1, 5, 0));
        content.insert(span(9, 12, 0));
        assert_eq!(content.whole_up_to(0), 5);
        assert_eq!(content.timeline_at(7), None);
        content.insert(span(4, 8, 0));
        assert_eq!(content.spans(), [span(1, 12, 0)]);
        assert_eq!(content.after(10).collect::<Vec<_>>(), [span(11, 12, 0)]);
    }
}
