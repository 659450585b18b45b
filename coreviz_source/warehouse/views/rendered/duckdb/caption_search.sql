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
  "c"."dataset_id",
  "d"."name" AS "dataset_name",
  "fo"."name" AS "folder_name",
  "fo"."full_name" AS "folder_full_name",
  "c"."media_id",
  "m"."name" AS "media_name",
  "m"."file_name",
  "m"."type" AS "media_type",
  "m"."created_at" AS "media_created_at",
  "m"."blob",
  COALESCE("t"."tags", CAST([] AS TEXT[])) AS "tags",
  "c"."frame_id",
  "f"."timestamp_seconds",
  "f"."page_number",
  "f"."blob" AS "frame_blob",
  "c"."id" AS "caption_id",
  "c"."text" AS "caption",
  "c"."model",
  "c"."created_at" AS "caption_created_at"
FROM "{captions}" AS "c"
JOIN "{media}" AS "m"
  ON "m"."dataset_id" = "c"."dataset_id"
  AND "m"."id" = "c"."media_id"
  AND "m"."deleted_at" IS NULL
LEFT JOIN "{frames}" AS "f"
  ON "f"."dataset_id" = "c"."dataset_id"
  AND "f"."media_id" = "c"."media_id"
  AND "f"."id" = "c"."frame_id"
LEFT JOIN "{datasets}" AS "d"
  ON "d"."id" = "c"."dataset_id"
LEFT JOIN "folder_tree" AS "fo"
  ON "fo"."dataset_id" = "m"."dataset_id" AND "fo"."id" = "m"."folder_id"
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
  ON "t"."dataset_id" = "c"."dataset_id" AND "t"."media_id" = "c"."media_id"
WHERE
  COALESCE("c"."status", '') <> 'deleted'
  AND COALESCE("f"."status", '') <> 'deleted'
