//! Streams of events: pages that keep themselves up to date. A stream sends fragments of a page, each only when it has
//! changed; after a loss the browser asks again and gets all of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt as _};

use super::Console;
use super::answer::PageError;
use super::door::Visitor;
use super::pages::{branches, run};
use crate::limits::CONSOLE_FRAME_PAUSE;

/// Fragments by the name of their event.
pub(super) type Fragments = Vec<(String, String)>;

/// Only what is not as it was sent last.
#[derive(Default)]
struct Sent(BTreeMap<String, String>);

impl Sent {
    fn news(&mut self, fragments: Fragments) -> Vec<Event> {
        let mut news = Vec::new();
        for (name, html) in fragments {
            if self.0.get(&name) != Some(&html) {
                news.push(Event::default().event(&name).data(html.replace('\r', "")));
                self.0.insert(name, html);
            }
        }
        news
    }
}

/// `GET /live/branches`
pub(super) async fn branch_list(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let overviews = console.overview.subscribe();
    let runs = console.runs.subscribe();
    let first = stream::unfold((console, visitor, overviews, runs, Sent::default()), |mut at| async move {
        let (console, visitor, overviews, runs, sent) = (&at.0, &at.1, &mut at.2, &mut at.3, &mut at.4);
        loop {
            tokio::select! {
                changed = overviews.changed() => if changed.is_err() { return None },
                changed = runs.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    tokio::time::sleep(CONSOLE_FRAME_PAUSE).await;
                    runs.borrow_and_update();
                }
                () = console.closing.cancelled() => return None,
            }
            let Some(overview) = overviews.borrow_and_update().clone() else { continue };
            let news = sent.news(branches::fragments(console, &overview, visitor));
            if !news.is_empty() {
                return Some((stream::iter(news), at));
            }
        }
    });
    events(first.flatten())
}

/// `GET /live/runs/ID`
pub(super) async fn one_run(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let live = console.runs.find(&id).ok_or_else(|| PageError::missing("there is no such run"))?;
    let mut changes = live.subscribe();
    changes.mark_changed();
    let seen = stream::unfold((console, visitor, live, changes, Sent::default()), |mut at| async move {
        let (console, visitor, live, changes, sent) = (&at.0, &at.1, &at.2, &mut at.3, &mut at.4);
        if sent.0.contains_key(run::DONE) {
            return None;
        }
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return None },
                // times go on where nothing else does
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = console.closing.cancelled() => return None,
            }
            let news = sent.news(run::fragments(live, visitor));
            // a picture at a time is enough for eyes and for thin lines
            tokio::time::sleep(CONSOLE_FRAME_PAUSE).await;
            if !news.is_empty() {
                return Some((stream::iter(news), at));
            }
        }
    });
    Ok(events(seen.flatten()))
}

fn events(stream: impl Stream<Item = Event> + Send + 'static) -> Response {
    let stream = stream.map(Ok::<_, Infallible>);
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_sent_only_when_it_has_changed() {
        let mut sent = Sent::default();
        let of = |html: &str| vec![("a".to_owned(), html.to_owned()), ("b".to_owned(), "same".to_owned())];
        assert_eq!(sent.news(of("1")).len(), 2);
        assert_eq!(sent.news(of("1")).len(), 0);
        assert_eq!(sent.news(of("2")).len(), 1);
    }
}
