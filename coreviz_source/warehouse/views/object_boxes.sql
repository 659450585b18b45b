-- One row per object whose polygon can be read: its box in the frame, and the share of the frame that the box fills.
--
-- dataset_id: Id of the dataset.
-- dataset_name: Name of the dataset.
-- media_id: Id of the media item.
-- media_name: Name of the media item as sent; may be a path with slashes.
-- file_name: File name of the media item: the last part of its name.
-- media_type: Kind of media item: image, video or pdf.
-- frame_id: Id of the frame.
-- timestamp_seconds: Position of the frame in the video in seconds; 0 for images.
-- page_number: Page number in a pdf.
-- frame_blob: Public address of the frame's picture.
-- frame_width: Width of the frame in pixels.
-- frame_height: Height of the frame in pixels.
-- object_id: Id of the object.
-- label: What was detected.
-- x_min: Left edge of the polygon in pixels of the frame.
-- y_min: Top edge of the polygon in pixels of the frame.
-- x_max: Right edge of the polygon in pixels of the frame.
-- y_max: Bottom edge of the polygon in pixels of the frame.
-- frame_share: Share of the frame inside these edges, from 0 to 1; null if the size of the frame is not known.

SELECT
    o.dataset_id,
    d.name AS dataset_name,
    o.media_id,
    m.name AS media_name,
    m.file_name,
    m.type AS media_type,
    o.frame_id,
    f.timestamp_seconds,
    f.page_number,
    f.blob AS frame_blob,
    f.width AS frame_width,
    f.height AS frame_height,
    o.id AS object_id,
    o.label,
    o.x_min,
    o.y_min,
    o.x_max,
    o.y_max,
    GREATEST(LEAST(o.x_max, CAST(f.width AS DOUBLE)) - GREATEST(o.x_min, 0.0), 0.0)
    * GREATEST(LEAST(o.y_max, CAST(f.height AS DOUBLE)) - GREATEST(o.y_min, 0.0), 0.0)
    / NULLIF(CAST(f.width AS DOUBLE) * CAST(f.height AS DOUBLE), 0.0) AS frame_share
FROM objects AS o
JOIN media AS m ON m.dataset_id = o.dataset_id AND m.id = o.media_id AND m.deleted_at IS NULL
LEFT JOIN frames AS f ON f.dataset_id = o.dataset_id AND f.media_id = o.media_id AND f.id = o.frame_id
LEFT JOIN datasets AS d ON d.id = o.dataset_id
WHERE o.x_min IS NOT NULL AND COALESCE(o.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
