-- One row a caption: what it says, the moment, the media, where that is and how it is tagged.
--
-- dataset_id: The dataset.
-- dataset_name: Name of the dataset.
-- folder_name: Name of the folder that holds the media; null at the top of a dataset.
-- media_id: The media.
-- media_name: File name of the media.
-- media_type: Kind of media: image, video or pdf.
-- media_created_at: When the media was created, UTC.
-- blob: Public address of the media's file.
-- tags: The media's tags of all groups, each once, sorted; an empty list if it has none.
-- frame_id: The frame that is described.
-- timestamp_seconds: Moment in the video in seconds; 0 for images.
-- page_number: Page of a pdf.
-- frame_blob: Public address of the frame's picture.
-- caption_id: The caption.
-- caption: Its text.
-- model: The model that wrote it.
-- caption_created_at: When the caption was created, UTC.

SELECT
    c.dataset_id,
    d.name AS dataset_name,
    fo.name AS folder_name,
    c.media_id,
    m.name AS media_name,
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
LEFT JOIN folders AS fo ON fo.dataset_id = m.dataset_id AND fo.path = m.path
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT tag ORDER BY tag) AS tags
    FROM media_tags
    WHERE tag IS NOT NULL
    GROUP BY dataset_id, media_id
) AS t ON t.dataset_id = c.dataset_id AND t.media_id = c.media_id
