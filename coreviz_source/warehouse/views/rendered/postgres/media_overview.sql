WITH RECURSIVE "folder_from_top" AS (
  SELECT
    "f"."dataset_id",
    "f"."id",
    CAST(COALESCE("f"."name", "f"."id") AS TEXT) AS "full_name",
    1 AS "depth"
  FROM "{folders}" AS "f"
  LEFT JOIN "{folders}" AS "above"
    ON "above"."dataset_id" = "f"."dataset_id" AND "above"."id" = "f"."parent_id"
  WHERE
    "above"."id" IS NULL
  UNION ALL
  SELECT
    "f"."dataset_id",
    "f"."id",
    CAST("t"."full_name" || '/' || COALESCE("f"."name", "f"."id") AS TEXT) AS "full_name",
    "t"."depth" + 1 AS "depth"
  FROM "folder_from_top" AS "t"
  JOIN "{folders}" AS "f"
    ON "f"."dataset_id" = "t"."dataset_id" AND "f"."parent_id" = "t"."id"
  WHERE
    "t"."depth" < 400
), "folder_tree" AS (
  SELECT
    "f"."dataset_id",
    "d"."name" AS "dataset_name",
    "f"."id",
    "f"."name",
    "f"."parent_id",
    COALESCE("t"."full_name", "f"."name", "f"."id") AS "full_name",
    COALESCE("t"."depth", 1) AS "depth"
  FROM "{folders}" AS "f"
  LEFT JOIN "folder_from_top" AS "t"
    ON "t"."dataset_id" = "f"."dataset_id" AND "t"."id" = "f"."id"
  LEFT JOIN "{datasets}" AS "d"
    ON "d"."id" = "f"."dataset_id"
)
SELECT
  "m"."dataset_id",
  "d"."name" AS "dataset_name",
  "fo"."name" AS "folder_name",
  "fo"."full_name" AS "folder_full_name",
  "m"."id" AS "media_id",
  "m"."name" AS "media_name",
  "m"."file_name",
  "m"."type" AS "media_type",
  "m"."blob",
  "m"."width",
  "m"."height",
  "m"."duration",
  "m"."size_bytes",
  "m"."created_at",
  COALESCE("f"."frames", 0) AS "frames",
  COALESCE("c"."captions", 0) AS "captions",
  COALESCE("o"."objects", 0) AS "objects",
  COALESCE("l"."labels", CAST(ARRAY[] AS TEXT[])) AS "labels",
  COALESCE("t"."tags", CAST(ARRAY[] AS TEXT[])) AS "tags",
  "p"."text" AS "first_caption",
  "c"."first_caption_at",
  CAST(CAST(EXTRACT(EPOCH FROM "c"."first_caption_at" - "m"."created_at") * 1000000 AS BIGINT) AS DOUBLE PRECISION) / 1e6 AS "caption_latency_seconds",
  "m"."moderation_status",
  COALESCE("x"."categories", CAST(ARRAY[] AS TEXT[])) AS "moderation_categories",
  COALESCE("f"."moderated_frames", 0) AS "moderated_frames",
  COALESCE("f"."frames_not_approved", 0) AS "frames_not_approved"
FROM "{media}" AS "m"
LEFT JOIN "{datasets}" AS "d"
  ON "d"."id" = "m"."dataset_id"
LEFT JOIN "folder_tree" AS "fo"
  ON "fo"."dataset_id" = "m"."dataset_id" AND "fo"."id" = "m"."folder_id"
LEFT JOIN (
  SELECT
    "dataset_id",
    "media_id",
    COUNT(*) AS "frames",
    COUNT("moderation_status") AS "moderated_frames",
    COUNT(CASE WHEN "moderation_status" <> 'approved' THEN 1 END) AS "frames_not_approved"
  FROM "{frames}"
  WHERE
    COALESCE("status", '') <> 'deleted'
  GROUP BY
    "dataset_id",
    "media_id"
) AS "f"
  ON "f"."dataset_id" = "m"."dataset_id" AND "f"."media_id" = "m"."id"
LEFT JOIN (
  SELECT
    "c"."dataset_id",
    "c"."media_id",
    COUNT(*) AS "captions",
    MIN("c"."created_at") AS "first_caption_at"
  FROM "{captions}" AS "c"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "c"."dataset_id"
    AND "f"."media_id" = "c"."media_id"
    AND "f"."id" = "c"."frame_id"
  WHERE
    COALESCE("c"."status", '') <> 'deleted'
    AND COALESCE("f"."status", '') <> 'deleted'
  GROUP BY
    "c"."dataset_id",
    "c"."media_id"
) AS "c"
  ON "c"."dataset_id" = "m"."dataset_id" AND "c"."media_id" = "m"."id"
LEFT JOIN (
  SELECT
    "c"."dataset_id",
    "c"."media_id",
    "c"."text",
    ROW_NUMBER() OVER (
      PARTITION BY "c"."dataset_id", "c"."media_id"
      ORDER BY "f"."timestamp_seconds", "f"."page_number", "c"."created_at", "c"."id"
    ) AS "place"
  FROM "{captions}" AS "c"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "c"."dataset_id"
    AND "f"."media_id" = "c"."media_id"
    AND "f"."id" = "c"."frame_id"
  WHERE
    COALESCE("c"."status", '') <> 'deleted'
    AND COALESCE("f"."status", '') <> 'deleted'
) AS "p"
  ON "p"."dataset_id" = "m"."dataset_id"
  AND "p"."media_id" = "m"."id"
  AND "p"."place" = 1
LEFT JOIN (
  SELECT
    "o"."dataset_id",
    "o"."media_id",
    COUNT(*) AS "objects"
  FROM "{objects}" AS "o"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "o"."dataset_id"
    AND "f"."media_id" = "o"."media_id"
    AND "f"."id" = "o"."frame_id"
  WHERE
    COALESCE("o"."status", '') <> 'deleted'
    AND COALESCE("f"."status", '') <> 'deleted'
  GROUP BY
    "o"."dataset_id",
    "o"."media_id"
) AS "o"
  ON "o"."dataset_id" = "m"."dataset_id" AND "o"."media_id" = "m"."id"
LEFT JOIN (
  SELECT
    "o"."dataset_id",
    "o"."media_id",
    ARRAY_AGG(DISTINCT "o"."label" ORDER BY "o"."label") AS "labels"
  FROM "{objects}" AS "o"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "o"."dataset_id"
    AND "f"."media_id" = "o"."media_id"
    AND "f"."id" = "o"."frame_id"
  WHERE
    NOT "o"."label" IS NULL
    AND COALESCE("o"."status", '') <> 'deleted'
    AND COALESCE("f"."status", '') <> 'deleted'
  GROUP BY
    "o"."dataset_id",
    "o"."media_id"
) AS "l"
  ON "l"."dataset_id" = "m"."dataset_id" AND "l"."media_id" = "m"."id"
LEFT JOIN (
  SELECT
    "dataset_id",
    "media_id",
    ARRAY_AGG(DISTINCT "tag" ORDER BY "tag") AS "tags"
  FROM "{media_tags}"
  WHERE
    NOT "tag" IS NULL
  GROUP BY
    "dataset_id",
    "media_id"
) AS "t"
  ON "t"."dataset_id" = "m"."dataset_id" AND "t"."media_id" = "m"."id"
LEFT JOIN (
  SELECT
    "x"."dataset_id",
    "x"."media_id",
    ARRAY_AGG(DISTINCT "x"."category" ORDER BY "x"."category") AS "categories"
  FROM "{moderation_categories}" AS "x"
  LEFT JOIN "{frames}" AS "f"
    ON "f"."dataset_id" = "x"."dataset_id"
    AND "f"."media_id" = "x"."media_id"
    AND "f"."id" = "x"."frame_id"
  WHERE
    NOT "x"."category" IS NULL AND COALESCE("f"."status", '') <> 'deleted'
  GROUP BY
    "x"."dataset_id",
    "x"."media_id"
) AS "x"
  ON "x"."dataset_id" = "m"."dataset_id" AND "x"."media_id" = "m"."id"
WHERE
  "m"."deleted_at" IS NULL
