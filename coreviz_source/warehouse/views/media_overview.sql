-- One row a media: how much was found in it, its first caption, tags, moderation, and how long the caption took.
--
-- dataset_id: The dataset.
-- dataset_name: Name of the dataset.
-- folder_name: Name of the folder that holds the media; null at the top of a dataset.
-- media_id: The media.
-- media_name: File name of the media.
-- media_type: Kind of media: image, video or pdf.
-- blob: Public address of the file.
-- duration: Duration in seconds; null for images.
-- size_bytes: Size of the file in bytes.
-- created_at: When the media was created, UTC.
-- frames: Number of frames or pages.
-- captions: Number of captions.
-- objects: Number of detected objects.
-- labels: The labels of the objects, each once, sorted; an empty list if there are none.
-- tags: The tags of all groups, each once, sorted; an empty list if there are none.
-- first_caption: The caption of the earliest moment, of the first page, or of the image.
-- first_caption_at: When the first of the captions was written, UTC.
-- caption_latency_seconds: Seconds from the media's creation to the first of the captions being written.
-- moderation_status: Outcome of moderation of the media.
-- moderation_categories: Categories raised on the media or a frame of it, each once, sorted.

SELECT
    m.dataset_id,
    d.name AS dataset_name,
    fo.name AS folder_name,
    m.id AS media_id,
    m.name AS media_name,
    m.type AS media_type,
    m.blob,
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
    COALESCE(x.categories, CAST([] AS TEXT[])) AS moderation_categories
FROM media AS m
LEFT JOIN datasets AS d ON d.id = m.dataset_id
LEFT JOIN folders AS fo ON fo.dataset_id = m.dataset_id AND fo.path = m.path
LEFT JOIN (
    SELECT dataset_id, media_id, COUNT(*) AS frames
    FROM frames
    GROUP BY dataset_id, media_id
) AS f ON f.dataset_id = m.dataset_id AND f.media_id = m.id
LEFT JOIN (
    SELECT dataset_id, media_id, COUNT(*) AS captions, MIN(created_at) AS first_caption_at
    FROM captions
    GROUP BY dataset_id, media_id
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
) AS p ON p.dataset_id = m.dataset_id AND p.media_id = m.id AND p.place = 1
LEFT JOIN (
    SELECT dataset_id, media_id, COUNT(*) AS objects
    FROM objects
    GROUP BY dataset_id, media_id
) AS o ON o.dataset_id = m.dataset_id AND o.media_id = m.id
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT label ORDER BY label) AS labels
    FROM objects
    WHERE label IS NOT NULL
    GROUP BY dataset_id, media_id
) AS l ON l.dataset_id = m.dataset_id AND l.media_id = m.id
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT tag ORDER BY tag) AS tags
    FROM media_tags
    WHERE tag IS NOT NULL
    GROUP BY dataset_id, media_id
) AS t ON t.dataset_id = m.dataset_id AND t.media_id = m.id
LEFT JOIN (
    SELECT dataset_id, media_id, ARRAY_AGG(DISTINCT category ORDER BY category) AS categories
    FROM moderation_categories
    WHERE category IS NOT NULL
    GROUP BY dataset_id, media_id
) AS x ON x.dataset_id = m.dataset_id AND x.media_id = m.id
WHERE m.deleted_at IS NULL
