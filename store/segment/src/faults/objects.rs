//! A bucket that fails.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Failing;

/// A bucket in memory that refuses what is put there for as long as it is told to, counts
/// questions, and fails when a disk does.
#[derive(Debug, Default)]
pub(crate) struct Moody {
    pub(super) inner: InMemory,
    pub(crate) refuses: AtomicBool,
    pub(crate) refused: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(super) failing: Option<Arc<Failing>>,
}

impl Moody {
    /// What it has.
    pub(super) async fn objects(&self) -> Vec<ObjectMeta> {
        self.inner.list(None).filter_map(async |it| it.ok()).collect().await
    }

    fn may(&self) -> Result<()> {
        let strikes = self.failing.as_ref().is_some_and(|it| it.strikes());
        if strikes { Err(not_now()) } else { Ok(()) }
    }
}

fn not_now() -> Error {
    Error::Generic { store: "moody", source: "not now".into() }
}

impl fmt::Display for Moody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("moody")
    }
}

#[async_trait]
impl ObjectStore for Moody {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if self.refuses.load(Relaxed) {
            self.refused.fetch_add(1, Relaxed);
            return Err(not_now());
        }
        self.may()?;
        let put = self.inner.put_opts(location, payload, options).await;
        // It is there, but the answer got lost.
        self.may()?;
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.may()?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Relaxed);
        self.may()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.may() {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => async { Err(error) }.into_stream().boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.may() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => async { Err(error) }.into_stream().boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
