-- One row per caption that got another text or was written by another model (exists only with the setting history).
--
-- dataset_id: Id of the dataset.
-- dataset_name: Name of the dataset.
-- folder_name: Name of the folder that holds the media item; null at the top of the dataset.
-- folder_full_name: Names of the folders from the top down to that one, joined by slashes.
-- media_id: Id of the media item.
-- media_name: Name of the media item as sent; the last one that it had if it was deleted.
-- media_type: Kind of media item: image, video or pdf.
-- frame_id: Id of the frame.
-- caption_id: Id of the caption after the change.
-- changed_at: Time of the run that first saw the caption after the change, UTC.
-- text_before: Text before the change.
-- text_after: Text after the change.
-- model_before: Name of the model that wrote the text before.
-- model_after: Name of the model that wrote the text after.
-- stood_since: Time of the run that first saw the text before, UTC.
-- stood_seconds: Seconds from stood_since to changed_at.
-- same_id: Whether the caption kept its id. If not, one caption of the frame was removed and one added in the same run.
-- caption_id_before: Id of the caption before the change.
-- run: Id of the run that first saw the caption after the change.

WITH shown AS (
    SELECT
        h.dataset_id,
        h.media_id,
        h.frame_id,
        h.id,
        h.text,
        h.model,
        h.valid_from,
        h.valid_to,
        h.run,
        LAG(h.valid_to) OVER (PARTITION BY h.dataset_id, h.media_id, h.id ORDER BY h.valid_from) AS previous_to,
        LAG(h.text) OVER (PARTITION BY h.dataset_id, h.media_id, h.id ORDER BY h.valid_from) AS previous_text,
        LAG(h.model) OVER (PARTITION BY h.dataset_id, h.media_id, h.id ORDER BY h.valid_from) AS previous_model,
        LEAD(h.valid_from) OVER (PARTITION BY h.dataset_id, h.media_id, h.id ORDER BY h.valid_from) AS next_from
    FROM caption_history AS h
    WHERE COALESCE(h.status, '') <> 'deleted'
), stood AS (
    -- a version with another frame or status only continues the text of the one before
    SELECT
        s.dataset_id,
        s.media_id,
        s.frame_id,
        s.id,
        s.text,
        s.model,
        s.valid_from,
        s.valid_to,
        s.run,
        s.previous_to = s.valid_from AS continues,
        s.next_from = s.valid_to AS continued,
        MAX(
            CASE
                WHEN s.previous_to = s.valid_from
                    AND s.previous_text IS NOT DISTINCT FROM s.text
                    AND s.previous_model IS NOT DISTINCT FROM s.model
                THEN NULL
                ELSE s.valid_from
            END
        ) OVER (PARTITION BY s.dataset_id, s.media_id, s.id ORDER BY s.valid_from) AS since
    FROM shown AS s
), ended AS (
    SELECT
        s.*,
        ROW_NUMBER() OVER (
            PARTITION BY s.dataset_id, s.media_id, s.frame_id, s.valid_to
            ORDER BY s.since, s.id
        ) AS place
    FROM stood AS s
    WHERE s.valid_to IS NOT NULL AND NOT COALESCE(s.continued, FALSE)
), begun AS (
    SELECT
        s.*,
        ROW_NUMBER() OVER (PARTITION BY s.dataset_id, s.media_id, s.frame_id, s.valid_from ORDER BY s.id) AS place
    FROM stood AS s
    WHERE NOT COALESCE(s.continues, FALSE)
), pairs AS (
    SELECT
        a.dataset_id,
        a.media_id,
        a.frame_id,
        a.id,
        a.text,
        a.model,
        a.valid_from,
        a.run,
        b.id AS id_before,
        b.text AS text_before,
        b.model AS model_before,
        b.since AS since_before
    FROM stood AS a
    JOIN stood AS b
        ON b.dataset_id = a.dataset_id AND b.media_id = a.media_id AND b.id = a.id AND b.valid_to = a.valid_from
    UNION ALL
    SELECT
        a.dataset_id,
        a.media_id,
        a.frame_id,
        a.id,
        a.text,
        a.model,
        a.valid_from,
        a.run,
        b.id AS id_before,
        b.text AS text_before,
        b.model AS model_before,
        b.since AS since_before
    FROM begun AS a
    JOIN ended AS b
        ON b.dataset_id = a.dataset_id AND b.media_id = a.media_id AND b.frame_id = a.frame_id
        AND b.valid_to = a.valid_from AND b.place = a.place
)
SELECT
    p.dataset_id,
    d.name AS dataset_name,
    fo.name AS folder_name,
    fo.full_name AS folder_full_name,
    p.media_id,
    m.name AS media_name,
    m.type AS media_type,
    p.frame_id,
    p.id AS caption_id,
    p.valid_from AS changed_at,
    p.text_before,
    p.text AS text_after,
    p.model_before,
    p.model AS model_after,
    p.since_before AS stood_since,
    DATE_DIFF('microsecond', p.since_before, p.valid_from) / 1e6 AS stood_seconds,
    p.id = p.id_before AS same_id,
    p.id_before AS caption_id_before,
    p.run
FROM pairs AS p
LEFT JOIN datasets AS d ON d.id = p.dataset_id
LEFT JOIN (
    SELECT
        dataset_id,
        id,
        name,
        type,
        folder_id,
        ROW_NUMBER() OVER (PARTITION BY dataset_id, id ORDER BY valid_from DESC) AS place
    FROM media_history
) AS m ON m.dataset_id = p.dataset_id AND m.id = p.media_id AND m.place = 1
LEFT JOIN folder_tree AS fo ON fo.dataset_id = m.dataset_id AND fo.id = m.folder_id
WHERE p.text IS DISTINCT FROM p.text_before OR p.model IS DISTINCT FROM p.model_before
