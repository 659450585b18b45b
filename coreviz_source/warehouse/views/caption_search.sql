-- One row per caption: its text, the frame and media item it belongs to, their folder and tags.
--
-- dataset_id: Id of the dataset.
-- dataset_name: Name of the dataset.
-- folder_name: Name of the folder that holds the media item; null at the top of the dataset.
-- folder_full_name: Names of the folders from the top down to that one, joined by slashes.
-- media_id: Id of the media item.
-- media_name: Name of the media item as sent; may be a path with slashes.
-- file_name: File name of the media item: the last part of its name.
-- media_type: Kind of media item: image, video or pdf.
-- media_created_at: When the media item was created, UTC.
-- blob: Public address of the media item's file.
-- tags: Tags of the media item, of all groups, each once, sorted; an empty list if it has none.
-- frame_id: Id of the frame.
-- timestamp_seconds: Position of the frame in the video in seconds; 0 for images.
-- page_number: Page number in a pdf.
-- frame_blob: Public address of the frame's picture.
-- caption_id: Id of the caption.
-- caption: Text of the caption.
-- model: Name of the model that wrote it.
-- caption_created_at: When the caption was created, UTC.

SELECT
    c.dataset_id,
    d.name AS dataset_name,
    fo.name AS folder_name,
    fo.full_name AS folder_full_name,
    c.media_id,
    m.name AS media_name,
    m.file_name,
    m.type AS media_type,
    m.created_at AS media_created_at,
    m.blob,
    COALESCE(t.tags, CAST([] AS TEXT[])) AS tags,
    c.frame_id,
    f.timestamp_seconds,
    f.page_number,
    f.blob AS frame_blob,
    c.id AS caption_id,
    c.text AS caption,
    c.model,
    c.created_at AS caption_created_at
FROM captions AS c
JOIN media AS m ON m.dataset_id = c.dataset_id AND m.id = c.media_id AND m.deleted_at IS NULL
LEFT JOIN frames AS f ON f.dataset_id = c.dataset_id AND f.media_id = c.media_id AND f.id = c.frame_id
LEFT JOIN datasets AS d ON d.id = c.dataset_id
LEFT JOIN folder_tree AS fo ON fo.dataset_id = m.dataset_id AND fo.id = m.folder_id
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT tag ORDER BY tag) AS tags
    FROM media_tags
    WHERE tag IS NOT NULL
    GROUP BY dataset_id, media_id
) AS t ON t.dataset_id = c.dataset_id AND t.media_id = c.media_id
WHERE COALESCE(c.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
