-- One row per media item: what was found in it, its first caption and how long that took, folder, tags, moderation.
--
-- dataset_id: Id of the dataset.
-- dataset_name: Name of the dataset.
-- folder_name: Name of the folder that holds the media item; null at the top of the dataset.
-- folder_full_name: Names of the folders from the top down to that one, joined by slashes.
-- media_id: Id of the media item.
-- media_name: Name of the media item as sent; may be a path with slashes.
-- file_name: File name of the media item: the last part of its name.
-- media_type: Kind of media item: image, video or pdf.
-- blob: Public address of the file.
-- width: Width in pixels.
-- height: Height in pixels.
-- duration: Duration in seconds; null for images.
-- size_bytes: Size of the file in bytes.
-- created_at: When the media item was created, UTC.
-- frames: Number of frames or pages.
-- captions: Number of captions.
-- objects: Number of detected objects.
-- labels: Labels of the objects, each once, sorted; an empty list if there are none.
-- tags: Tags of all groups, each once, sorted; an empty list if there are none.
-- first_caption: The caption of the image, of the earliest frame or of the first page.
-- first_caption_at: When the oldest of its captions was created, UTC.
-- caption_latency_seconds: Seconds from the creation of the media item to that of its oldest caption.
-- moderation_status: Result of moderation of the media item.
-- moderation_categories: Categories raised on the media item or on a frame of it, each once, sorted.
-- moderated_frames: Number of frames or pages whose own moderation has a result.
-- frames_not_approved: Number of those whose result is not approved.

SELECT
    m.dataset_id,
    d.name AS dataset_name,
    fo.name AS folder_name,
    fo.full_name AS folder_full_name,
    m.id AS media_id,
    m.name AS media_name,
    m.file_name,
    m.type AS media_type,
    m.blob,
    m.width,
    m.height,
    m.duration,
    m.size_bytes,
    m.created_at,
    COALESCE(f.frames, 0) AS frames,
    COALESCE(c.captions, 0) AS captions,
    COALESCE(o.objects, 0) AS objects,
    COALESCE(l.labels, CAST([] AS TEXT[])) AS labels,
    COALESCE(t.tags, CAST([] AS TEXT[])) AS tags,
    p.text AS first_caption,
    c.first_caption_at,
    DATE_DIFF('microsecond', m.created_at, c.first_caption_at) / 1e6 AS caption_latency_seconds,
    m.moderation_status,
    COALESCE(x.categories, CAST([] AS TEXT[])) AS moderation_categories,
    COALESCE(f.moderated_frames, 0) AS moderated_frames,
    COALESCE(f.frames_not_approved, 0) AS frames_not_approved
FROM media AS m
LEFT JOIN datasets AS d ON d.id = m.dataset_id
LEFT JOIN folder_tree AS fo ON fo.dataset_id = m.dataset_id AND fo.id = m.folder_id
LEFT JOIN (
    SELECT
        dataset_id,
        media_id,
        COUNT(*) AS frames,
        COUNT(moderation_status) AS moderated_frames,
        COUNT(CASE WHEN moderation_status <> 'approved' THEN 1 END) AS frames_not_approved
    FROM frames
    WHERE COALESCE(status, '') <> 'deleted'
    GROUP BY dataset_id, media_id
) AS f ON f.dataset_id = m.dataset_id AND f.media_id = m.id
LEFT JOIN (
    SELECT c.dataset_id, c.media_id, COUNT(*) AS captions, MIN(c.created_at) AS first_caption_at
    FROM captions AS c
    LEFT JOIN frames AS f ON f.dataset_id = c.dataset_id AND f.media_id = c.media_id AND f.id = c.frame_id
    WHERE COALESCE(c.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
    GROUP BY c.dataset_id, c.media_id
) AS c ON c.dataset_id = m.dataset_id AND c.media_id = m.id
LEFT JOIN (
    SELECT
        c.dataset_id,
        c.media_id,
        c.text,
        ROW_NUMBER() OVER (
            PARTITION BY c.dataset_id, c.media_id
            ORDER BY f.timestamp_seconds, f.page_number, c.created_at, c.id
        ) AS place
    FROM captions AS c
    LEFT JOIN frames AS f ON f.dataset_id = c.dataset_id AND f.media_id = c.media_id AND f.id = c.frame_id
    WHERE COALESCE(c.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
) AS p ON p.dataset_id = m.dataset_id AND p.media_id = m.id AND p.place = 1
LEFT JOIN (
    SELECT o.dataset_id, o.media_id, COUNT(*) AS objects
    FROM objects AS o
    LEFT JOIN frames AS f ON f.dataset_id = o.dataset_id AND f.media_id = o.media_id AND f.id = o.frame_id
    WHERE COALESCE(o.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
    GROUP BY o.dataset_id, o.media_id
) AS o ON o.dataset_id = m.dataset_id AND o.media_id = m.id
LEFT JOIN (
    SELECT o.dataset_id, o.media_id, ARRAY_AGG(DISTINCT o.label ORDER BY o.label) AS labels
    FROM objects AS o
    LEFT JOIN frames AS f ON f.dataset_id = o.dataset_id AND f.media_id = o.media_id AND f.id = o.frame_id
    WHERE o.label IS NOT NULL AND COALESCE(o.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
    GROUP BY o.dataset_id, o.media_id
) AS l ON l.dataset_id = m.dataset_id AND l.media_id = m.id
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT tag ORDER BY tag) AS tags
    FROM media_tags
    WHERE tag IS NOT NULL
    GROUP BY dataset_id, media_id
) AS t ON t.dataset_id = m.dataset_id AND t.media_id = m.id
LEFT JOIN (
    SELECT x.dataset_id, x.media_id, ARRAY_AGG(DISTINCT x.category ORDER BY x.category) AS categories
    FROM moderation_categories AS x
    LEFT JOIN frames AS f ON f.dataset_id = x.dataset_id AND f.media_id = x.media_id AND f.id = x.frame_id
    WHERE x.category IS NOT NULL AND COALESCE(f.status, '') <> 'deleted'
    GROUP BY x.dataset_id, x.media_id
) AS x ON x.dataset_id = m.dataset_id AND x.media_id = m.id
WHERE m.deleted_at IS NULL
