-- The questions of sql.md for BigQuery: rendered by sqlglot, run by a test double, not by Google's.

-- Which captions mention a red shoe?
SELECT
  file_name AS file,
  dataset_name,
  caption
FROM coreviz.caption_search
WHERE
  LOWER(caption) LIKE LOWER('%red shoe%')
ORDER BY
  media_created_at DESC,
  caption_id NULLS LAST
LIMIT 3;

-- What happens in the longest video?
SELECT
  s.timestamp_seconds AS second,
  s.caption
FROM coreviz.caption_search AS s
WHERE
  s.media_id = (
    SELECT
      media_id
    FROM coreviz.media_overview
    WHERE
      media_type = 'video'
    ORDER BY
      duration DESC,
      media_id NULLS LAST
    LIMIT 1
  )
ORDER BY
  second NULLS LAST,
  s.caption_id NULLS LAST
LIMIT 5;

-- Which captions came late?
SELECT
  file_name AS file,
  media_created_at,
  caption
FROM coreviz.caption_search
WHERE
  caption_created_at > media_created_at + INTERVAL '1' HOUR
ORDER BY
  caption_created_at DESC,
  caption_id NULLS LAST
LIMIT 5;

-- How long do captions take?
SELECT
  dataset_name,
  COUNT(*) AS media,
  ROUND(CAST(MIN(CASE WHEN share >= 0.5 THEN seconds END) AS NUMERIC), 1) AS median,
  ROUND(CAST(MIN(CASE WHEN share >= 0.95 THEN seconds END) AS NUMERIC), 1) AS p95
FROM (
  SELECT
    dataset_name,
    caption_latency_seconds AS seconds,
    CUME_DIST() OVER (PARTITION BY dataset_name ORDER BY caption_latency_seconds NULLS LAST) AS share
  FROM coreviz.media_overview
  WHERE
    NOT caption_latency_seconds IS NULL
) AS s
GROUP BY
  dataset_name
ORDER BY
  dataset_name NULLS LAST;

-- Which media have no caption yet, by age?
SELECT
  CASE
    WHEN created_at > newest - INTERVAL '6' HOUR
    THEN '1: under 6 hours'
    WHEN created_at > newest - INTERVAL '24' HOUR
    THEN '2: under a day'
    ELSE '3: a day and more'
  END AS age,
  COUNT(*) AS media
FROM coreviz.media_overview
CROSS JOIN (
  SELECT
    MAX(created_at) AS newest
  FROM coreviz.media
) AS n
WHERE
  captions = 0
GROUP BY
  1
ORDER BY
  1 NULLS LAST;

-- How large is the backlog of frames?
SELECT
  dataset_name,
  media_type,
  COUNT(frame_id) AS frames,
  COUNT(*) - COUNT(frame_id) AS media_without_frames
FROM coreviz.caption_backlog
GROUP BY
  dataset_name,
  media_type
ORDER BY
  dataset_name NULLS LAST,
  media_type NULLS LAST;

-- What is seen together?
SELECT
  a.label,
  b.label AS seen_with,
  COUNT(DISTINCT a.frame_id) AS frames
FROM coreviz.objects AS a
JOIN coreviz.objects AS b
  ON b.dataset_id = a.dataset_id AND b.frame_id = a.frame_id AND a.label < b.label
GROUP BY
  a.label,
  seen_with
ORDER BY
  frames DESC,
  a.label NULLS LAST,
  seen_with NULLS LAST
LIMIT 4;

-- Which labels come up most in a month?
SELECT
  dataset_name,
  month,
  label,
  objects,
  media
FROM coreviz.object_labels
ORDER BY
  objects DESC,
  label NULLS LAST,
  month NULLS LAST,
  dataset_name NULLS LAST
LIMIT 4;

-- Which objects are detected but not mentioned?
SELECT
  o.label,
  COUNT(*) AS objects
FROM coreviz.objects AS o
JOIN coreviz.media AS m
  ON m.dataset_id = o.dataset_id AND m.id = o.media_id AND m.deleted_at IS NULL
LEFT JOIN coreviz.captions AS c
  ON c.dataset_id = o.dataset_id
  AND c.media_id = o.media_id
  AND c.frame_id = o.frame_id
  AND INSTR(LOWER(c.text), LOWER(o.label)) > 0
WHERE
  c.id IS NULL AND COALESCE(o.status, '') <> 'deleted'
GROUP BY
  o.label
ORDER BY
  objects DESC,
  o.label NULLS LAST
LIMIT 4;

-- What share of the picture does a thing fill?
SELECT
  label,
  COUNT(*) AS objects,
  ROUND(CAST(100 * AVG(frame_share) AS NUMERIC), 1) AS percent
FROM coreviz.object_boxes
WHERE
  NOT frame_share IS NULL
GROUP BY
  label
HAVING
  COUNT(*) > 2
ORDER BY
  percent DESC,
  label NULLS LAST
LIMIT 4;

-- What stands left of what?
SELECT
  a.label,
  b.label AS stands_left_of,
  COUNT(*) AS times
FROM coreviz.object_boxes AS a
JOIN coreviz.object_boxes AS b
  ON b.dataset_id = a.dataset_id
  AND b.media_id = a.media_id
  AND b.frame_id = a.frame_id
  AND a.x_max < b.x_min
GROUP BY
  a.label,
  stands_left_of
ORDER BY
  times DESC,
  a.label NULLS LAST,
  stands_left_of NULLS LAST
LIMIT 4;

-- How much of the library is tagged?
SELECT
  m.dataset_name,
  COUNT(*) AS media,
  COUNT(t.media_id) AS tagged,
  ROUND(CAST(100.0 * COUNT(t.media_id) / COUNT(*) AS NUMERIC), 1) AS percent
FROM coreviz.media_overview AS m
LEFT JOIN (
  SELECT DISTINCT
    dataset_id,
    media_id
  FROM coreviz.media_tags
) AS t
  ON t.dataset_id = m.dataset_id AND t.media_id = m.media_id
GROUP BY
  m.dataset_name
ORDER BY
  m.dataset_name NULLS LAST;

-- Which tags are used most?
SELECT
  dataset_name,
  tag_group,
  tag,
  media,
  ROUND(CAST(100 * media_share AS NUMERIC), 1) AS percent
FROM coreviz.tag_usage
ORDER BY
  media DESC,
  dataset_name NULLS LAST,
  tag_group NULLS LAST,
  tag NULLS LAST
LIMIT 4;

-- Which media carry two tags at once?
SELECT
  file_name AS file,
  media_type,
  first_caption
FROM coreviz.media_overview
WHERE
  'print' IN UNNEST(tags) AND 'sharp' IN UNNEST(tags)
ORDER BY
  created_at DESC,
  media_id NULLS LAST
LIMIT 3;

-- Which media wait for moderation, or were flagged?
SELECT
  dataset_name,
  COALESCE(moderation_status, 'none') AS status,
  COUNT(*) - COUNT(frame_id) AS media,
  COUNT(frame_id) AS frames
FROM coreviz.moderation_queue
GROUP BY
  dataset_name,
  moderation_status
ORDER BY
  dataset_name NULLS LAST,
  status NULLS LAST;

-- What did moderation raise?
SELECT
  c.category,
  COUNT(DISTINCT c.media_id) AS media,
  COUNT(c.frame_id) AS frames
FROM coreviz.moderation_categories AS c
JOIN coreviz.media AS m
  ON m.dataset_id = c.dataset_id AND m.id = c.media_id AND m.deleted_at IS NULL
GROUP BY
  c.category
ORDER BY
  media DESC,
  c.category NULLS LAST;

-- Which files may be there twice?
SELECT
  type,
  size_bytes,
  COUNT(*) AS files,
  MIN(file_name) AS one_of_them
FROM coreviz.media
WHERE
  deleted_at IS NULL AND size_bytes > 0
GROUP BY
  type,
  size_bytes
HAVING
  COUNT(*) > 1
ORDER BY
  files DESC,
  size_bytes DESC
LIMIT 5;

-- How does the library grow, week over week?
SELECT
  week,
  media,
  media - LAG(media) OVER (ORDER BY week NULLS LAST) AS more_than_before,
  SUM(media) OVER (ORDER BY week) AS total
FROM (
  SELECT
    CAST(TIMESTAMP_TRUNC(TIMESTAMP(DATETIME(created_at, 'UTC')), ISOWEEK) AS DATE) AS week,
    COUNT(*) AS media
  FROM coreviz.media
  WHERE
    deleted_at IS NULL
  GROUP BY
    1
) AS w
ORDER BY
  week NULLS LAST;

-- Which cameras were used?
SELECT
  JSON_EXTRACT_SCALAR(JSON_EXTRACT(exif, '$.tags'), '$.Model') AS camera,
  COUNT(*) AS media
FROM coreviz.media
WHERE
  deleted_at IS NULL
  AND NOT (
    JSON_EXTRACT_SCALAR(JSON_EXTRACT(exif, '$.tags'), '$.Model')
  ) IS NULL
GROUP BY
  1
ORDER BY
  media DESC,
  camera NULLS LAST;

-- What is in which folder?
SELECT
  dataset_name,
  COALESCE(folder_full_name, '(top)') AS folder,
  COUNT(*) AS media,
  SUM(captions) AS captions
FROM coreviz.media_overview
GROUP BY
  dataset_name,
  folder_full_name
ORDER BY
  media DESC,
  dataset_name NULLS LAST,
  folder NULLS LAST
LIMIT 5;

-- How much is in a folder and all folders below it?
SELECT
  t.dataset_name,
  t.full_name AS folder,
  t.depth,
  COUNT(m.media_id) AS media
FROM coreviz.folder_tree AS t
LEFT JOIN coreviz.media_overview AS m
  ON m.dataset_id = t.dataset_id
  AND INSTR(m.folder_full_name || '/', t.full_name || '/') = 1
GROUP BY
  t.dataset_name,
  t.id,
  folder,
  t.depth
ORDER BY
  media DESC,
  t.dataset_name NULLS LAST,
  folder NULLS LAST
LIMIT 4;

-- Which model writes what?
SELECT
  model,
  COUNT(*) AS captions,
  COUNT(DISTINCT media_id) AS media,
  ROUND(CAST(AVG(LENGTH(caption)) AS NUMERIC), 1) AS characters
FROM coreviz.caption_search
GROUP BY
  model
ORDER BY
  captions DESC,
  model NULLS LAST;

-- How fresh are the tables, and how did the runs end?
SELECT
  dataset_name,
  last_outcome,
  runs,
  failed_runs,
  media,
  media_total
FROM coreviz.freshness
ORDER BY
  dataset_name NULLS LAST;

-- Which captions were rewritten last week, and how?
SELECT
  changed_at,
  media_name,
  text_before,
  text_after,
  model_before,
  model_after
FROM coreviz.caption_changes
WHERE
  changed_at >= CURRENT_TIMESTAMP() - INTERVAL '7' DAY
ORDER BY
  changed_at DESC,
  media_name NULLS LAST,
  caption_id NULLS LAST
LIMIT 20;

-- Which model changed its mind most?
SELECT
  model_after AS model,
  COUNT(*) AS rewritten,
  COUNT(DISTINCT media_id) AS media,
  ROUND(CAST(AVG(stood_seconds) / 86400 AS NUMERIC), 1) AS days
FROM coreviz.caption_changes
WHERE
  model_before = model_after AND text_before IS DISTINCT FROM text_after
GROUP BY
  model
ORDER BY
  rewritten DESC,
  model NULLS LAST;

-- What did the library say on a day?
WITH day AS (
  SELECT
    CURRENT_TIMESTAMP() - INTERVAL '7' DAY AS moment
)
SELECT
  m.name AS media_name,
  c.text,
  c.model
FROM day
JOIN coreviz.caption_history AS c
  ON c.valid_from <= day.moment
  AND (
    c.valid_to IS NULL OR c.valid_to > day.moment
  )
JOIN coreviz.media_history AS m
  ON m.dataset_id = c.dataset_id
  AND m.id = c.media_id
  AND m.valid_from <= day.moment
  AND (
    m.valid_to IS NULL OR m.valid_to > day.moment
  )
WHERE
  COALESCE(c.status, '') <> 'deleted'
ORDER BY
  m.name NULLS LAST,
  c.frame_id NULLS LAST,
  c.id NULLS LAST
LIMIT 20;

-- How often is moderation reversed?
SELECT
  status_before,
  status_after,
  COUNT(*) AS times,
  COUNT(DISTINCT id) AS media
FROM (
  SELECT
    id,
    moderation_status AS status_after,
    LAG(moderation_status) OVER (PARTITION BY dataset_id, id ORDER BY valid_from NULLS LAST) AS status_before
  FROM coreviz.media_history
  WHERE
    NOT moderation_status IS NULL AND moderation_status <> 'pending'
) AS results
WHERE
  status_before <> status_after
GROUP BY
  status_before,
  status_after
ORDER BY
  times DESC,
  status_before NULLS LAST,
  status_after NULLS LAST;
