-- One row a media that is not approved, or a frame with an outcome of its own that is not approval.
--
-- dataset_id: The dataset.
-- dataset_name: Name of the dataset.
-- media_id: The media.
-- media_name: File name of the media.
-- media_type: Kind of media: image, video or pdf.
-- frame_id: The frame; null: the media itself.
-- timestamp_seconds: Moment of the frame in the video in seconds.
-- blob: Public address of the file, or of the frame's picture.
-- moderation_status: Outcome of moderation so far; null: none. Frames without an outcome are not listed.
-- categories: Categories raised on exactly this media or frame, each once, sorted.
-- moderated_at: When it was moderated, UTC.
-- created_at: When the media or the frame was created, UTC.

SELECT
    q.dataset_id,
    d.name AS dataset_name,
    q.media_id,
    q.media_name,
    q.media_type,
    q.frame_id,
    q.timestamp_seconds,
    q.blob,
    q.moderation_status,
    COALESCE(x.categories, CAST([] AS TEXT[])) AS categories,
    q.moderated_at,
    q.created_at
FROM (
    SELECT
        dataset_id,
        id AS media_id,
        name AS media_name,
        type AS media_type,
        CAST(NULL AS TEXT) AS frame_id,
        CAST(NULL AS DOUBLE) AS timestamp_seconds,
        blob,
        moderation_status,
        moderated_at,
        created_at
    FROM media
    WHERE deleted_at IS NULL AND (moderation_status IS NULL OR moderation_status <> 'approved')
    UNION ALL
    SELECT
        f.dataset_id,
        f.media_id,
        m.name AS media_name,
        m.type AS media_type,
        f.id AS frame_id,
        f.timestamp_seconds,
        f.blob,
        f.moderation_status,
        f.moderated_at,
        f.created_at
    FROM frames AS f
    JOIN media AS m ON m.dataset_id = f.dataset_id AND m.id = f.media_id AND m.deleted_at IS NULL
    WHERE f.moderation_status <> 'approved'
) AS q
LEFT JOIN (
    SELECT dataset_id, media_id, COALESCE(frame_id, '') AS frame_id,
        ARRAY_AGG(DISTINCT category ORDER BY category) AS categories
    FROM moderation_categories
    WHERE category IS NOT NULL
    GROUP BY dataset_id, media_id, COALESCE(frame_id, '')
) AS x ON x.dataset_id = q.dataset_id AND x.media_id = q.media_id AND x.frame_id = COALESCE(q.frame_id, '')
LEFT JOIN datasets AS d ON d.id = q.dataset_id
