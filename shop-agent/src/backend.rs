//! What the agent needs of the shop's database; a trait, so that sessions and methods are tested without one.

use std::future::Future;
use std::io::Read;
use std::path::PathBuf;

use protocol::history::{History, Offer};
use protocol::layout::TableLayout;
use protocol::methods::{BaselineOptions, BaselineReply, DigestRequest, DigestRowsRequest, TableDigest};
use protocol::watermark::Since;
use replica::ReplicaError;
use replica::apply::Applied;
use replica::digest::RowDigest;
use replica::retention::Retention;
use replica::shop::{
    AuditRecord, Backlog, CleanReport, Contact, NewSession, SessionRow, SessionState, Shop, ShopFacts, Vitals,
};
use replica::spool::FrozenStream;

type Result<T> = std::result::Result<T, ReplicaError>;

/// The database of a shop; see [`Shop`], whose methods these are.
pub(crate) trait Backend: Send + Sync + 'static {
    /// See [`Shop::facts`].
    fn facts(&self, office: &str) -> impl Future<Output = Result<ShopFacts>> + Send;
    /// See [`Shop::contact`].
    fn contact(
        &self,
        office: &str,
        offer: &Offer,
        contact: Contact,
    ) -> impl Future<Output = Result<(History, i64)>> + Send;
    /// Name of the policy in force.
    fn policy_name(&self) -> String;
    /// Where the bytes of a frozen diff are.
    fn diff_path(&self, id: &str) -> PathBuf;
    /// See [`Shop::clean`].
    fn clean(
        &self,
        office: &str,
        force: bool,
        begins: Option<&str>,
    ) -> impl Future<Output = Result<CleanReport>> + Send;
    /// See [`Shop::restore_before_clean`].
    fn restore_before_clean(&self) -> impl Future<Output = Result<i64>> + Send;
    /// See [`Shop::set_id_start`].
    fn set_id_start(&self, low: i64, high: Option<i64>) -> impl Future<Output = Result<()>> + Send;
    /// See [`Shop::open_diff_for`].
    fn open_diff(
        &self,
        office: &str,
        since: Since,
        rate: Option<u64>,
    ) -> impl Future<Output = Result<FrozenStream>> + Send;
    /// See [`Shop::preview_diff`].
    fn preview_diff(
        &self,
        office: &str,
        since: Since,
        rate: Option<u64>,
    ) -> impl Future<Output = Result<FrozenStream>> + Send;
    /// See [`Shop::frozen_diff`].
    fn frozen_diff(&self, office: &str, id: &str) -> impl Future<Output = Result<Option<FrozenStream>>> + Send;
    /// See [`Shop::open_session`].
    fn open_session(&self, new: NewSession) -> impl Future<Output = Result<SessionRow>> + Send;
    /// See [`Shop::session`].
    fn session(&self, sid: i32) -> impl Future<Output = Result<Option<SessionRow>>> + Send;
    /// See [`Shop::open_sessions`].
    fn open_sessions(&self) -> impl Future<Output = Result<Vec<SessionRow>>> + Send;
    /// See [`Shop::end_session`].
    fn end_session(
        &self,
        sid: i32,
        state: SessionState,
        fault: Option<(i32, &str)>,
    ) -> impl Future<Output = Result<()>> + Send;
    /// See [`Shop::apply_session`].
    fn apply_session(&self, sid: i32, input: Box<dyn Read + Send>) -> impl Future<Output = Result<Applied>> + Send;
    /// See [`Shop::apply_arriving`].
    fn apply_arriving(&self, sid: i32, input: Box<dyn Read + Send>) -> impl Future<Output = Result<Applied>> + Send;
    /// See [`Shop::exchange_layout`].
    fn exchange_layout(
        &self,
        office: &str,
        theirs: Option<Vec<TableLayout>>,
    ) -> impl Future<Output = Result<Vec<TableLayout>>> + Send;
    /// See [`Shop::fresh`].
    fn fresh(&self) -> impl Future<Output = Result<()>> + Send;
    /// See [`Shop::audit`].
    fn audit(&self, records: i64) -> impl Future<Output = Result<Vec<AuditRecord>>> + Send;
    /// See [`Shop::digests`].
    fn digests(
        &self,
        office: &str,
        request: &DigestRequest,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<TableDigest>>> + Send;
    /// See [`Shop::digest_rows`].
    fn digest_rows(
        &self,
        office: &str,
        request: &DigestRowsRequest,
        bytes_max: usize,
    ) -> impl Future<Output = Result<Vec<RowDigest>>> + Send;
    /// See [`Shop::rows`].
    fn rows(&self, table: &str, keys: &[String], bytes_max: usize) -> impl Future<Output = Result<Vec<String>>> + Send;
    /// See [`Shop::mark`].
    fn mark(&self, office: &str, table: &str, keys: &[String]) -> impl Future<Output = Result<()>> + Send;
    /// See [`Shop::baseline`].
    fn baseline(&self, office: &str, options: BaselineOptions) -> impl Future<Output = Result<BaselineReply>> + Send;
    /// See [`Shop::vitals`].
    fn vitals(&self) -> impl Future<Output = Result<Vitals>> + Send;
    /// See [`Shop::backlog`].
    fn backlog(&self) -> impl Future<Output = Result<Vec<Backlog>>> + Send;
    /// See [`Shop::retention`].
    fn retention(&self) -> Retention;
    /// See [`Shop::tick`].
    fn tick(&self) -> impl Future<Output = Result<()>> + Send;
}

impl Backend for Shop {
    async fn facts(&self, office: &str) -> Result<ShopFacts> {
        Self::facts(self, office).await
    }

    async fn contact(&self, office: &str, offer: &Offer, contact: Contact) -> Result<(History, i64)> {
        Self::contact(self, office, offer, contact).await
    }

    fn policy_name(&self) -> String {
        self.policy().name().to_owned()
    }

    fn diff_path(&self, id: &str) -> PathBuf {
        self.spool().data_path(id)
    }

    async fn clean(&self, office: &str, force: bool, begins: Option<&str>) -> Result<CleanReport> {
        Self::clean(self, office, force, begins).await
    }

    async fn restore_before_clean(&self) -> Result<i64> {
        Self::restore_before_clean(self).await
    }

    async fn set_id_start(&self, low: i64, high: Option<i64>) -> Result<()> {
        Self::set_id_start(self, low, high).await
    }

    async fn open_diff(&self, office: &str, since: Since, rate: Option<u64>) -> Result<FrozenStream> {
        self.open_diff_for(office, since, rate).await
    }

    async fn preview_diff(&self, office: &str, since: Since, rate: Option<u64>) -> Result<FrozenStream> {
        Self::preview_diff(self, office, since, rate).await
    }

    async fn frozen_diff(&self, office: &str, id: &str) -> Result<Option<FrozenStream>> {
        Self::frozen_diff(self, office, id).await
    }

    async fn open_session(&self, new: NewSession) -> Result<SessionRow> {
        Self::open_session(self, new).await
    }

    async fn session(&self, sid: i32) -> Result<Option<SessionRow>> {
        Self::session(self, sid).await
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        Self::open_sessions(self).await
    }

    async fn end_session(&self, sid: i32, state: SessionState, fault: Option<(i32, &str)>) -> Result<()> {
        Self::end_session(self, sid, state, fault).await
    }

    async fn apply_session(&self, sid: i32, input: Box<dyn Read + Send>) -> Result<Applied> {
        Self::apply_session(self, sid, input).await
    }

    async fn apply_arriving(&self, sid: i32, input: Box<dyn Read + Send>) -> Result<Applied> {
        Self::apply_arriving(self, sid, input).await
    }

    async fn exchange_layout(&self, office: &str, theirs: Option<Vec<TableLayout>>) -> Result<Vec<TableLayout>> {
        Self::exchange_layout(self, office, theirs).await
    }

    async fn fresh(&self) -> Result<()> {
        Self::fresh(self).await
    }

    async fn audit(&self, records: i64) -> Result<Vec<AuditRecord>> {
        Self::audit(self, records).await
    }

    async fn digests(&self, office: &str, request: &DigestRequest, bytes_max: usize) -> Result<Vec<TableDigest>> {
        Self::digests(self, office, request, bytes_max).await
    }

    async fn digest_rows(&self, office: &str, request: &DigestRowsRequest, bytes_max: usize) -> Result<Vec<RowDigest>> {
        Self::digest_rows(self, office, request, bytes_max).await
    }

    async fn rows(&self, table: &str, keys: &[String], bytes_max: usize) -> Result<Vec<String>> {
        Self::rows(self, table, keys, bytes_max).await
    }

    async fn mark(&self, office: &str, table: &str, keys: &[String]) -> Result<()> {
        Self::mark(self, office, table, keys).await
    }

    async fn baseline(&self, office: &str, options: BaselineOptions) -> Result<BaselineReply> {
        Self::baseline(self, office, options).await
    }

    async fn vitals(&self) -> Result<Vitals> {
        Self::vitals(self).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        Self::backlog(self).await
    }

    fn retention(&self) -> Retention {
        Self::retention(self)
    }

    async fn tick(&self) -> Result<()> {
        Self::tick(self).await
    }
}
