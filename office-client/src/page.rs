//! The first of a list, and whether there are more: one more is asked for than is shown.

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    /// What is shown.
    pub(crate) shown: Vec<T>,
    /// Whether there are more behind them.
    pub(crate) more: bool,
}

impl<T> Page<T> {
    /// Asks for at most so many; `ask` gets one more, which tells whether there are more.
    pub(crate) async fn of<E>(limit: i64, ask: impl AsyncFnOnce(i64) -> Result<Vec<T>, E>) -> Result<Self, E> {
        let mut shown = ask(limit.saturating_add(1)).await?;
        let more = i64::try_from(shown.len()).unwrap_or(i64::MAX) > limit;
        if more {
            shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(Self { shown, more })
    }

    /// The last one that is shown, when there are more behind it: the next part begins after it.
    pub(crate) fn turn(&self) -> Option<&T> {
        self.shown.last().filter(|_| self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(there: i64, limit: i64) -> (usize, bool, Option<i64>) {
        let ask = async |limit: i64| Ok::<_, ()>((0..there.min(limit)).collect());
        let page = Page::of(limit, ask).await.unwrap();
        (page.shown.len(), page.more, page.turn().copied())
    }

    #[tokio::test]
    async fn there_are_more_exactly_when_there_are_more() {
        assert_eq!(of(2, 3).await, (2, false, None));
        assert_eq!(of(3, 3).await, (3, false, None));
        assert_eq!(of(4, 3).await, (3, true, Some(2)));
        assert_eq!(of(0, i64::MAX).await, (0, false, None));
    }
}
