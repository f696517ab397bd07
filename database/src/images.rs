//! Entity of the table `images`.

use sea_orm::entity::prelude::*;
use workflows::types::{StoredImage, StoredObject};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "images")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) task_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) index: i32,
    pub(crate) prompt_index: i32,
    pub(crate) object_key: String,
    pub(crate) size_bytes: i64,
    pub(crate) content_type: String,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) sha256: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl From<Model> for StoredImage {
    fn from(row: Model) -> Self {
        StoredImage {
            index: row.index as u32,
            prompt_index: row.prompt_index as u32,
            object: StoredObject {
                object_key: row.object_key,
                size_bytes: row.size_bytes as u64,
                content_type: row.content_type,
                width: row.width as u32,
                height: row.height as u32,
                sha256: row.sha256,
            },
        }
    }
}
