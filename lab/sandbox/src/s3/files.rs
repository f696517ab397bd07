//! s3s's files, with a listing that takes as long as what it lists.
//!
//! s3s-fs walks the whole bucket for each listing. With a thousand tasks, each of which lists its own objects, that took more of the
//! machine than all else.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;

/// What S3 lists at once, at most.
const PAGE: usize = 1_000;

/// Buckets are folders.
pub(super) struct Files {
    root: PathBuf,
    files: FileSystem,
}

impl Files {
    pub(super) fn new(root: &Path) -> Result<Files, s3s_fs::Error> {
        Ok(Files { root: root.to_owned(), files: FileSystem::new(root)? })
    }
}

/// The listing, and what is left to s3s-fs. One `impl` has to have all of it, and async_trait looks into no macro.
macro_rules! impl_s3 {
    (left_to_s3s_fs: $($name:ident: $input:ty => $output:ty;)*) => {
        #[async_trait]
        impl S3 for Files {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$name(request).await
            })*

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                let bucket = self.root.join(&request.input.bucket);
                // What nothing here asks for.
                if request.input.delimiter.is_some() || !bucket.is_dir() {
                    return self.files.list_objects_v2(request).await;
                }
                let listed = tokio::task::spawn_blocking(move || list(&bucket, request.input)).await;
                listed.map_err(S3Error::internal_error)?.map(S3Response::new).map_err(S3Error::internal_error)
            }
        }
    };
}

impl_s3! {
    left_to_s3s_fs:
    copy_object: CopyObjectInput => CopyObjectOutput;
    delete_object: DeleteObjectInput => DeleteObjectOutput;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput;
    get_object: GetObjectInput => GetObjectOutput;
    head_bucket: HeadBucketInput => HeadBucketOutput;
    head_object: HeadObjectInput => HeadObjectOutput;
    put_object: PutObjectInput => PutObjectOutput;
}

fn list(bucket: &Path, input: ListObjectsV2Input) -> io::Result<ListObjectsV2Output> {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input.continuation_token.as_deref().max(input.start_after.as_deref()).unwrap_or_default();
    let most = input.max_keys.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE).min(PAGE);
    let mut objects = objects(bucket, prefix)?;
    objects.retain(|object| object.key.as_deref().is_some_and(|key| key > after));
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let more = objects.len() > most;
    objects.truncate(most);
    Ok(ListObjectsV2Output {
        key_count: i32::try_from(objects.len()).ok(),
        is_truncated: Some(more),
        next_continuation_token: objects.last().filter(|_| more).and_then(|last| last.key.clone()),
        contents: Some(objects),
        max_keys: i32::try_from(most).ok(),
        name: Some(input.bucket),
        prefix: input.prefix,
        continuation_token: input.continuation_token,
        ..ListObjectsV2Output::default()
    })
}

/// Those whose key begins with the prefix. Folders that can't have any aren't looked into.
fn objects(bucket: &Path, prefix: &str) -> io::Result<Vec<Object>> {
    let folder = Path::new(prefix.rsplit_once('/').map_or("", |(folder, _)| folder));
    if !folder.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(Vec::new());
    }
    let (mut objects, mut folders) = (Vec::new(), vec![bucket.join(folder)]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let (path, metadata) = match entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // deleted since
                Err(error) => return Err(error),
            };
            let Some(key) = path.strip_prefix(bucket).ok().and_then(Path::to_str) else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if key.starts_with(prefix) {
                objects.push(Object {
                    key: Some(key.to_owned()),
                    last_modified: Some(metadata.modified()?.into()),
                    size: i64::try_from(metadata.len()).ok(),
                    ..Object::default()
                });
            }
        }
    }
    Ok(objects)
}
